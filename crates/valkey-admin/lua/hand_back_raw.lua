#!lua flags=allow-oom
-- transition: a list of raw bytes (woken, a lane) -> public list.
--
-- KEYS  1 source LIST  2 public LIST
-- ARGV  1 'head' (to be read next, before all that waits) | 'tail' (after all that waits)  2 elements at most (1..512)
-- Returns how many were moved.
-- Keeps - bytes and order: what would have been read first still is.
--
-- allow-oom: it moves, the store does not grow.

local source, public = KEYS[1], KEYS[2]
local where, most = ARGV[1], tonumber(ARGV[2])
if #KEYS ~= 2 or (where ~= 'head' and where ~= 'tail') or not most or most < 1 or most > 512 then
  return { err = 'ERR hand_back_raw: malformed call, expected 2 keys, head or tail, and a count (1..512)' }
end
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= 'list' then
    return { err = 'WRONGTYPE key ' .. key .. ' holds a ' .. kind .. ', expected a list' }
  end
end

local count = math.min(redis.call('LLEN', source), most)
for _ = 1, count do
  if where == 'head' then
    redis.call('LMOVE', source, public, 'LEFT', 'RIGHT')
  else
    redis.call('LMOVE', source, public, 'RIGHT', 'LEFT')
  end
end
if count > 0 then redis.call('PERSIST', public) end
return count
