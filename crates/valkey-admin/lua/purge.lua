#!lua flags=allow-oom
-- transition: the oldest elements of one part of a queue -> gone.
--
-- KEYS  1 the part: a list or a sorted set, but for T:dead, whose bodies are elsewhere
-- ARGV  1 the type expected: 'list' | 'zset'  2 elements at most (1..512)
-- Returns how many were removed.
-- Keeps - one bounded slice a call: a purge of millions never holds up the server.
--
-- allow-oom: it only gives memory back.

local key = KEYS[1]
local expected, most = ARGV[1], tonumber(ARGV[2])
if (expected ~= 'list' and expected ~= 'zset') or not most or most < 1 or most > 512 then
  return { err = 'ERR purge: malformed call, expected list or zset and a count (1..512)' }
end
local kind = redis.call('TYPE', key).ok
if kind ~= 'none' and kind ~= expected then
  return { err = 'WRONGTYPE key ' .. key .. ' holds a ' .. kind .. ', expected a ' .. expected }
end

if expected == 'list' then
  local count = math.min(redis.call('LLEN', key), most)
  if count > 0 then redis.call('LTRIM', key, 0, -(count + 1)) end
  return count
end
local members = redis.call('ZRANGE', key, 0, most - 1)
if #members == 0 then return 0 end
redis.call('ZREM', key, unpack(members))
return #members
