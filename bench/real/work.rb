# Ordinary Ruby work: hashes, arrays of strings, objects, sorting, regular expressions.
state = 7
chance = lambda do |limit|
  state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
  (state / 65_536) % limit
end

Row = Struct.new(:id, :name, :list)

table = {}
250_000.times do |step|
  table[chance.call(30_000)] = "value" * (1 + chance.call(20))
  table.delete(chance.call(30_000)) if step % 3 == 0
end
puts "table #{table.size} #{table.values.sum(&:length)}"

rows = (1..40_000).map { |id| Row.new(id, "n" * chance.call(60), (0..chance.call(20)).map { chance.call(1000) }) }
sorted = rows.sort_by { |row| [row.name, row.list.first, row.id] }
puts "rows #{sorted.first.id} #{sorted.sum { |row| row.list.length }}"

text = (1..60_000).map { |number| "#{chance.call(1000)}-#{'abcdef'[number % 6] * (1 + chance.call(8))}" }.join(" ")
words = text.scan(/(\d+)-([a-f]+)/)
counts = words.each_with_object(Hash.new(0)) { |(number, letters), seen| seen["#{letters}#{number.to_i % 10}"] += 1 }
puts "words #{words.length} #{counts.length} #{text.gsub(/(\d)(\d)/) { "#{$2}#{$1}" }.sum}"
