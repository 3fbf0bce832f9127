# A Redis server on a socket in the current folder, under load and then asked for what it holds.
set -eu

redis() { redis-cli -s ./socket "$@"; }

redis-server --port 0 --unixsocket ./socket --save '' --appendonly no --io-threads 2 --lazyfree-lazy-user-del yes \
  --enable-debug-command local --logfile /dev/null &
server=$!
for _ in $(seq 100); do
  if [ "$(redis ping 2>&1)" = PONG ]; then
    break
  fi
  sleep 0.1
done

# The first column names what ran; the others are times.
redis-benchmark -s ./socket -n 10000 -c 20 -r 5000 -d 300 --threads 2 --csv \
  -t set,get,incr,lpush,rpush,lpop,sadd,hset,spop,zadd,lrange_100,mset | cut -d, -f1

redis flushall
seq 1 20000 | awk '{ printf "SET key:%d %0*d\nRPUSH list:%d %d\nZADD ranks %d member:%d\nHSET hash:%d f%d v%d\n",
  $1, $1 % 500 + 1, $1, $1 % 50, $1, $1 * 7919 % 10007, $1, $1 % 300, $1, $1 }' | redis --pipe | tail -n 1
redis append key:77 "$(printf '%100000s' x)"
redis dbsize
redis get key:499
redis lrange list:7 0 5
redis zrange ranks 0 5 withscores
redis hlen hash:12
redis eval 'local sum = 0
for place = 1, 20000 do sum = sum + #redis.call("get", "key:" .. place) end
return sum' 0
redis unlink ranks list:1 list:2
# A forked child writes the data out while the server goes on; then the server reads all of it back.
redis bgsave
redis set key:1 changed
while redis info persistence | grep -q rdb_bgsave_in_progress:1; do
  sleep 0.1
done
redis info persistence | grep rdb_last_bgsave_status
redis debug reload
redis get key:1
redis dbsize
redis shutdown nosave
wait "$server"
