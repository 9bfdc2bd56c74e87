#!lua flags=no-writes
-- transition: none; the first elements of a list, sorted set or hash, without taking them.
--
-- KEYS  1 the key looked at
-- ARGV  1 'right' (oldest first) | 'left' (youngest first, not for sorted sets)  2 elements to skip  3 elements at most (1..512)
--       4 bytes returned of one element at most (0 = all)  5 bytes after which no further element is returned
-- Returns { type, size, items, next }; an item is { tag, length in bytes, its first bytes }; the tag is '' in a list, the
--         score in a sorted set (lowest first), the field in a hash (by claim, fields that are no message left out)
--         next: how many elements to skip for the page that follows, '' = this was the last
-- Keeps - reads only; at least one element is returned if there is one, so that a walk always gets on.

local SLICE = 8
local key, side = KEYS[1], ARGV[1]
local skip, most, cap, budget = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if #KEYS ~= 1 or not (skip and most and cap and budget) or skip < 0 or most < 1 or most > 512 then
  return { err = 'ERR peek: malformed call, expected 1 key and: side, skip, count (1..512), element bytes, total bytes' }
end

local items, bytes = {}, 0
local function add(tag, element)
  local shown = element
  if cap > 0 and #element > cap then shown = string.sub(element, 1, cap) end
  items[#items + 1] = { tag, #element, shown }
  bytes = bytes + #shown
end
local function full() return #items >= most or (bytes >= budget and #items > 0) end

local kind, size = redis.call('TYPE', key).ok, 0
if kind == 'list' then
  size = redis.call('LLEN', key)
  while not full() and skip + #items < size do
    local from = skip + #items
    local count = math.min(SLICE, most - #items)
    if side == 'left' then
      for _, element in ipairs(redis.call('LRANGE', key, from, from + count - 1)) do
        if not full() then add('', element) end
      end
    else
      local slice = redis.call('LRANGE', key, -(from + count), -(from + 1))
      for i = #slice, 1, -1 do
        if not full() then add('', slice[i]) end
      end
    end
  end
elseif kind == 'zset' then
  size = redis.call('ZCARD', key)
  while not full() and skip + #items < size do
    local from = skip + #items
    local slice = redis.call('ZRANGE', key, from, from + math.min(SLICE, most - #items) - 1, 'WITHSCORES')
    for i = 1, #slice, 2 do
      if not full() then add(slice[i + 1], slice[i]) end
    end
  end
elseif kind == 'hash' then
  local fields = {}
  for _, field in ipairs(redis.call('HKEYS', key)) do
    local take, item = string.match(field, '^(%d+)-(%d+)$')
    if take then fields[#fields + 1] = { field, tonumber(take), tonumber(item) } end
  end
  table.sort(fields, function(a, b)
    if side == 'left' then a, b = b, a end
    return a[2] < b[2] or (a[2] == b[2] and a[3] < b[3])
  end)
  size = #fields
  while not full() and skip + #items < size do
    local field = fields[skip + #items + 1][1]
    add(field, redis.call('HGET', key, field))
  end
elseif kind ~= 'none' then
  return { err = 'WRONGTYPE key ' .. key .. ' holds a ' .. kind .. ', which no part of a queue is' }
end
local following = skip + #items
return { kind, size, items, following < size and following or '' }
