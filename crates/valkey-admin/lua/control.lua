#!lua flags=allow-oom
-- transition: fields of T:control set or removed, and the bell rung so that idle consumers and senders look again.
--
-- KEYS  1 T:control HASH  2 T:bell (shard channel)
-- ARGV  field, value, field, value ...; an empty value removes the field; at most 16 pairs
-- Returns the number of fields that now differ from before.
-- Keeps - fields not named stay as they are.
--       - a changed rate starts from a full bucket: the arrival time of the old rate says nothing about the new one.
--       - without max_in_flight no `n:<cid>` share stays behind to be counted the day it is set again.
--
-- allow-oom: pausing a queue is what an operator does when the store is full.

local MAX_PAIRS, MAX_SHARES = 16, 512
local control, bell = KEYS[1], KEYS[2]
if #KEYS ~= 2 or #ARGV == 0 or #ARGV % 2 ~= 0 or #ARGV > 2 * MAX_PAIRS then
  return { err = 'ERR control: malformed call, expected 2 keys and 1 to 16 pairs' }
end
local kind = redis.call('TYPE', control).ok
if kind ~= 'none' and kind ~= 'hash' then
  return { err = 'WRONGTYPE key ' .. control .. ' holds a ' .. kind .. ', expected a hash' }
end

local changed = 0
local function put(field, value)
  local before = redis.call('HGET', control, field)
  if value == '' then
    if before then
      redis.call('HDEL', control, field)
      return 1
    end
  elseif before ~= value then
    redis.call('HSET', control, field, value)
    return 1
  end
  return 0
end
local function drop_shares()
  local left = MAX_SHARES
  for _, field in ipairs(redis.call('HKEYS', control)) do
    if left == 0 then return end
    if string.sub(field, 1, 2) == 'n:' then
      redis.call('HDEL', control, field)
      left = left - 1
    end
  end
end

for i = 1, #ARGV, 2 do
  local field, value = ARGV[i], ARGV[i + 1]
  local differs = put(field, value)
  changed = changed + differs
  if differs == 1 and (field == 'rate' or field == 'burst') then redis.call('HDEL', control, 'tat') end
  if field == 'max_in_flight' and value == '' then drop_shares() end
end
redis.pcall('SPUBLISH', bell, 'control')
return changed
