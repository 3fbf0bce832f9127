# Ordinary bash work: arrays, string building, subshells, pipes, here documents, process substitution, functions.

declare -A squares
for ((number = 0; number < 5000; number++)); do
  squares[$number]=$((number * number))
done
total=0
for key in "${!squares[@]}"; do
  total=$((total + squares[$key]))
done
echo "squares ${#squares[@]} $total"

words=()
for ((number = 0; number < 20000; number++)); do
  words+=("word$((number * 7919 % 10007))")
done
echo "words ${#words[@]} ${words[19999]}"
printf '%s\n' "${words[@]}" | sort | uniq -c | sort -k1,1nr -k2 | head -n 5

text=
for ((number = 0; number < 3000; number++)); do
  text+="line $number "
done
replaced=${text//line/row}
echo "text ${#text} ${#replaced} ${replaced: -9}"

reverse() {
  local input=$1 output= place
  for ((place = ${#input} - 1; place >= 0; place--)); do
    output+=${input:place:1}
  done
  printf '%s' "$output"
}
echo "reverse $(reverse "$(seq -s, 1 300)" | cksum)"

for ((number = 0; number < 50; number++)); do
  (words=(); echo "subshell $number $(echo "$number" | (read -r value; echo $((value + ${squares[$number]}))))")
done

while IFS=, read -r first second; do
  echo "pair $second $first"
done < <(for ((number = 0; number < 20; number++)); do echo "$number,$((number * 3))"; done)

cat <<DOCUMENT | tr a-z A-Z
here is $total and ${#words[@]}
DOCUMENT

seq 1 100000 | grep 7 | sed 's/7/seven/g' | awk '{ sum += length($0) } END { print "pipeline", NR, sum }'

sleep 0.2 &
wait $!
echo "background $?"
(exit 9)
echo "status $?"
