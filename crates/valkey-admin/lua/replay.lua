#!lua flags=allow-oom
-- transition: dead letters by id -> lanes of a queue in the same slot, as the bytes they were.
--
-- KEYS  1 T:dead ZSET  2 T:dead:body HASH  3 public LIST  4 lane:high LIST  5 lane:low LIST  6 bell (shard channel); 3 to 6 of the target
-- ARGV  id, lane 'n' | 'h' | 'l', id, lane ...; at most 256 pairs
-- Returns one letter a pair: r replayed, a absent (another replay was first, or no such id), u unreadable (no body, or one without
--         its header: left where it is)
-- Keeps - a message is pushed only in the very run that removes its dead letter: two replays never double it.
--       - it is pushed before it is removed: where access control forbids either, it may be there twice, but is not lost.
--       - deduplication is neither asked nor told.
--
-- allow-oom: it moves, the store does not grow.

local MAX_PAIRS = 256
local dead, body = KEYS[1], KEYS[2]
local lanes = { n = KEYS[3], h = KEYS[4], l = KEYS[5] }
if #KEYS ~= 6 or #ARGV == 0 or #ARGV % 2 ~= 0 or #ARGV > 2 * MAX_PAIRS then
  return { err = 'ERR replay: malformed call, expected 6 keys and 1 to 256 pairs' }
end
for i = 2, #ARGV, 2 do
  if not lanes[ARGV[i]] then return { err = 'ERR replay: lane ' .. ARGV[i] .. ' is not n, h or l' } end
end
for key, wanted in pairs({ [dead] = 'zset', [body] = 'hash', [lanes.n] = 'list', [lanes.h] = 'list', [lanes.l] = 'list' }) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted then
    return { err = 'WRONGTYPE key ' .. key .. ' holds a ' .. kind .. ', expected a ' .. wanted }
  end
end

local fates, replayed = {}, 0
for i = 1, #ARGV, 2 do
  local id, lane = ARGV[i], ARGV[i + 1]
  local fate = 'a'
  if redis.call('ZSCORE', dead, id) then
    local value = redis.call('HGET', body, id)
    local length, at = nil, nil
    if value then length, at = string.match(value, '^(%d+)|()') end
    length = tonumber(length)
    if not length or at + length - 1 > #value then
      fate = 'u'
    else
      redis.call('LPUSH', lanes[lane], string.sub(value, at + length))
      redis.call('ZREM', dead, id)
      redis.call('HDEL', body, id)
      fate = 'r'
      replayed = replayed + 1
    end
  end
  fates[#fates + 1] = fate
end
if replayed > 0 then
  redis.call('PERSIST', lanes.n)
  redis.pcall('SPUBLISH', KEYS[6], 'replay')
end
return table.concat(fates)
