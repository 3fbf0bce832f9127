-- Ordinary Lua work: tables that grow and go, strings, closures, a tree.
local state = 7
local function chance(limit)
  state = (state * 1103515245 + 12345) % 2147483648
  return (state // 65536) % limit
end

local function tree(depth)
  if depth == 0 then return {} end
  return { left = tree(depth - 1), right = tree(depth - 1) }
end
local function count(node)
  return node.left and 1 + count(node.left) + count(node.right) or 1
end
local nodes = 0
for _ = 1, 6 do nodes = nodes + count(tree(14)) end
print("tree", nodes)

local held = {}
for step = 1, 600000 do
  held[chance(20000) + 1] = string.rep("v", chance(100)) .. step
end
local length = 0
for _, value in pairs(held) do length = length + #value end
print("strings", length)

local makers = {}
for number = 1, 200000 do
  local row = { number, number * 2, name = "row" .. number }
  makers[number % 5000 + 1] = function(extra) return row[1] + row[2] + extra + #row.name end
end
local sum = 0
for _, maker in pairs(makers) do sum = sum + maker(1) end
print("closures", sum)

local pieces = {}
for number = 1, 100000 do pieces[#pieces + 1] = tostring(number) .. "," end
local text = table.concat(pieces)
local words = 0
for _ in text:gmatch("%d+") do words = words + 1 end
print("text", #text, words, #text:gsub("7", "seven"))
