#!lua flags=allow-oom
-- transition: dead letters by id -> gone.
--
-- KEYS  1 T:dead ZSET  2 T:dead:body HASH
-- ARGV  ids, at most 512
-- Returns a 1 (removed now) or 0 (was not there) an id.
-- Keeps - an index entry goes together with its body.
--
-- allow-oom: it only gives memory back.

local dead, body = KEYS[1], KEYS[2]
if #KEYS ~= 2 or #ARGV == 0 or #ARGV > 512 then
  return { err = 'ERR dead_remove: malformed call, expected 2 keys and 1 to 512 ids' }
end
for key, wanted in pairs({ [dead] = 'zset', [body] = 'hash' }) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted then
    return { err = 'WRONGTYPE key ' .. key .. ' holds a ' .. kind .. ', expected a ' .. wanted }
  end
end

local removed = {}
for i, id in ipairs(ARGV) do
  removed[i] = redis.call('ZREM', dead, id)
  redis.call('HDEL', body, id)
end
return removed
