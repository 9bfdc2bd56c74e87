#!lua flags=allow-oom
-- transition: the oldest elements of one part of a queue -> gone.
--
-- KEYS  1 the part: a list or a sorted set  2 dead:body HASH if the part is T:dead, else absent
-- ARGV  1 the type expected: 'list' | 'zset'  2 elements at most (1..512)
-- Returns how many were removed.
-- Keeps - one bounded slice a call: a purge of millions never holds up the server.
--       - an index entry of the dead letters goes together with its body.
--
-- allow-oom: it only gives memory back.

local key, body = KEYS[1], KEYS[2]
local expected, most = ARGV[1], tonumber(ARGV[2])
if (expected ~= 'list' and expected ~= 'zset') or not most or most < 1 or most > 512 then
  return { err = 'ERR purge: malformed call, expected list or zset and a count (1..512)' }
end
local function squatter(name, wanted)
  local kind = redis.call('TYPE', name).ok
  if kind ~= 'none' and kind ~= wanted then
    return { err = 'WRONGTYPE key ' .. name .. ' holds a ' .. kind .. ', expected a ' .. wanted }
  end
end
local failure = squatter(key, expected) or (body and squatter(body, 'hash'))
if failure then return failure end

if expected == 'list' then
  local count = math.min(redis.call('LLEN', key), most)
  if count > 0 then redis.call('LTRIM', key, 0, -(count + 1)) end
  return count
end
local members = redis.call('ZRANGE', key, 0, most - 1)
if #members == 0 then return 0 end
redis.call('ZREM', key, unpack(members))
if body then redis.call('HDEL', body, unpack(members)) end
return #members
