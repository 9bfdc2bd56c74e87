#!lua
-- transition  requests to limits -> granted and charged, or not, each by itself: what check.lua does, for the calls that are most frequent
--
-- KEYS  one per item, none of them twice: where the state of its subject under its limit is kept
-- ARGV  1 now in Unix microseconds ('' = the clock of this server; a time is for tests)
--       then for items that are alike, at most 64 items in all:
--         the quota as check.lua takes it, five arguments; of G (gcra) or R (sliding_window)
--         what one request costs, at least 1
--         how many items these are, and for each of them how many requests; 0 = only look; or, less than 0, how many items
--         these are, if each is one request: most are, and a number for each is a tenth of the call
-- Returns one string as check.lua does; or '': a key needs check.lua, since another quota or a later clock wrote it, or somebody
--         else did. Nothing was done.
-- Keeps - the answer, and what is stored, are those of check.lua.
--       - all arguments are understood, and all keys are read, before the first write.
-- The functions that make check.lua readable are made anew by each call of it, and take as long as the call of a key: here
-- are none.

local PARTS, MAX_ITEMS, TERMS = 60, 64, 7

local floor, ceil = math.floor, math.ceil
local byte, sub = string.byte, string.sub
local pack, unpack_bytes, call = struct.pack, struct.unpack, redis.call
local keys, arguments, items = KEYS, ARGV, #KEYS

local now = tonumber(arguments[1])
if not now then
  local clock = call('TIME')
  now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])
end
if items < 1 or items > MAX_ITEMS then
  return redis.error_reply('ERR grant: malformed call: expected 1 to 64 keys')
end

local plain = call('MGET', unpack(keys))
local parts, missing, values, lives = { pack('<i8', now) }, {}, {}, {}

local at, from = 2, 1
while from <= items do
  local kind, a, b, c, d = arguments[at], tonumber(arguments[at + 1]), tonumber(arguments[at + 2]), tonumber(arguments[at + 3]), tonumber(arguments[at + 4])
  local cost, count = tonumber(arguments[at + 5]), tonumber(arguments[at + 6])
  if not (a and b and c and d and cost and count) or cost < 1 or count == 0 then
    return redis.error_reply('ERR grant: malformed call: quota of item ' .. from)
  end
  local once, numbers = count < 0, count
  if once then
    count, numbers = -count, 0
  end
  local to, times_at = from + count - 1, at + TERMS - from
  if kind == 'G' then
    local begin = 'G' .. pack('<I6I6I6', b, c, d)
    local capacity, tick, drops = a * b, floor(now / d), cost * b
    for i = from, to do
      local raw, times, level = plain[i], once and 1 or tonumber(arguments[times_at + i]), 0
      if not times or times < 0 then
        return redis.error_reply('ERR grant: malformed call: item ' .. i)
      end
      if raw then
        if #raw ~= 34 or sub(raw, 1, 19) ~= begin then
          return ''
        end
        local was_at
        level, was_at = unpack_bytes('<I8I7', raw, 20)
        if tick < was_at then
          return ''
        end
        level = level - (tick - was_at) * c
        level = level < 0 and 0 or level > capacity and capacity or level
      else
        missing[#missing + 1] = keys[i]
      end
      local room = floor((capacity - level) / b)
      local mine = floor(room / cost)
      mine = mine < times and mine or times
      level = level + mine * drops
      local above, next_after, reset_after = level + drops - capacity, 0, 0
      if cost > a then
        next_after = -1
      elseif above > 0 then
        next_after = (tick + ceil(above / c)) * d - now
      end
      if level > 0 then
        reset_after = (tick + ceil(level / c)) * d - now
      end
      values[i] = mine > 0 and pack('<c0I8I7', begin, level, tick)
      lives[i] = ceil(reset_after / 1000)
      parts[i + 1] = pack('<i4I4i8i8i8', mine, room - mine * cost, next_after, reset_after, tick)
    end
  elseif kind == 'R' then
    local begin, size, counted = 'R' .. pack('<BI6', c, b), c + 1, c == 2 and '<I2' or '<I4'
    local form = c == 2 and '<c0I6I4c0BI2' or '<c0I6I4c0BI4'
    local current = floor(now / b)
    local number, newest_leaves = current % 256, (current + PARTS + 1) * b - now
    for i = from, to do
      local raw, times, total = plain[i], once and 1 or tonumber(arguments[times_at + i]), 0
      if not times or times < 0 then
        return redis.error_reply('ERR grant: malformed call: item ' .. i)
      end
      -- The entries of `raw` that count: from `first` on.
      local first, length = 19, 18
      if raw then
        length = #raw
        if length < 18 or (length - 18) % size ~= 0 or sub(raw, 1, 8) ~= begin then
          return ''
        end
        local newest
        newest, total = unpack_bytes('<I6I4', raw, 9)
        if newest > current then
          return ''
        elseif current - newest > PARTS then
          first, total = length + 1, 0
        elseif newest < current then
          while first <= length and (current - byte(raw, first)) % 256 > PARTS do
            total = total - unpack_bytes(counted, raw, first + 1)
            first = first + size
          end
        end
      else
        raw = ''
        missing[#missing + 1] = keys[i]
      end
      local mine = floor((a - total) / cost)
      mine = mine < times and mine or times
      local next_after, reset_after = 0, 0
      if mine > 0 then
        local amount, last = mine * cost, length
        total = total + amount
        if first <= length and byte(raw, length - c) == number then
          amount = amount + unpack_bytes(counted, raw, length - c + 1)
          last = length - size
        end
        raw = pack(form, begin, current, total, sub(raw, first, last), number, amount)
        first, length, reset_after = 19, #raw, newest_leaves
      else
        mine = 0
        if first <= length then
          reset_after = newest_leaves - (current - byte(raw, length - c)) % 256 * b
        end
      end
      if cost > a then
        next_after = -1
      elseif total + cost > a then
        local lacking = total + cost - a
        for entry = first, length, size do
          lacking = lacking - unpack_bytes(counted, raw, entry + 1)
          if lacking <= 0 then
            next_after = newest_leaves - (current - byte(raw, entry)) % 256 * b
            break
          end
        end
      end
      values[i] = mine > 0 and raw
      lives[i] = ceil(reset_after / 1000)
      parts[i + 1] = pack('<i4I4i8i8i8', mine, total < a and a - total or 0, next_after, reset_after, current)
    end
  else
    return redis.error_reply('ERR grant: malformed call: quota of item ' .. from)
  end
  at, from = at + TERMS + numbers, to + 1
end
if from ~= items + 1 or at ~= #arguments + 1 then
  return redis.error_reply('ERR grant: malformed call: expected a number for each key')
end
if #missing > 0 and call('EXISTS', unpack(missing)) > 0 then
  return ''
end

for i = 1, items do
  if values[i] then
    call('SET', keys[i], values[i], 'PX', lives[i])
  end
end

return table.concat(parts)
