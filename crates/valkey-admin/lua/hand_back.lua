#!lua flags=allow-oom
-- transition: framed elements (redo, delayed, in flight of a dead consumer) -> public list, as the plain envelopes the caller made.
--
-- KEYS  1 source LIST, ZSET or HASH  2 public LIST; only if the source is a hash: 3 consumers ZSET  4 control HASH
-- ARGV  1 the type of the source  2 the consumer's id, '' unless the source is a hash
--       then pairs: the element as the caller read it (of a hash: its field), the bytes to put in its place; at most 128 pairs
--       list: from the left end on, to the head of the public list; zset: earliest first, to its tail; hash: youngest first, to its head
-- Returns { moved, state }; state: 'ok' | 'changed' (an element is not, or no longer, where the caller saw it: read again)
--         | 'alive' (the consumer holds a lease: nothing was done)
-- Keeps - an element reaches the public list only in the very run that removes it from its source.
--       - it is pushed before it is removed: where access control forbids either, it may be there twice, but is not lost.
--       - a consumer is fenced for good (deadline 0) before its first field moves; with nothing left it is gone.
--
-- allow-oom: it moves, the store does not grow.

local MAX_PAIRS = 128
local source, public, consumers, control = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local expected, cid = ARGV[1], ARGV[2]
local pairs_given = (#ARGV - 2) / 2
if #KEYS < 2 or pairs_given < 1 or pairs_given > MAX_PAIRS or pairs_given % 1 ~= 0
  or (expected ~= 'list' and expected ~= 'zset' and expected ~= 'hash') or (expected == 'hash') ~= (#KEYS == 4) then
  return { err = 'ERR hand_back: malformed call, expected a source, the public list, its type, and 1 to 128 pairs' }
end
for i, wanted in ipairs({ expected, 'list', 'zset', 'hash' }) do
  local key = KEYS[i]
  local kind = key and redis.call('TYPE', key).ok or 'none'
  if kind ~= 'none' and kind ~= wanted then
    return { err = 'WRONGTYPE key ' .. key .. ' holds a ' .. kind .. ', expected a ' .. wanted }
  end
end

if expected == 'hash' then
  local clock = redis.call('TIME')
  local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
  local deadline = redis.call('ZSCORE', consumers, cid)
  if deadline and tonumber(deadline) > now then return { 0, 'alive' } end
  if deadline and tonumber(deadline) > 0 then redis.call('ZADD', consumers, 0, cid) end
end

local moved, state = 0, 'ok'
for i = 3, #ARGV, 2 do
  local element, replacement = ARGV[i], ARGV[i + 1]
  if expected == 'list' then
    if redis.call('LINDEX', source, 0) ~= element then
      state = 'changed'
      break
    end
    redis.call('RPUSH', public, replacement)
    redis.call('LPOP', source)
    moved = moved + 1
  elseif expected == 'zset' then
    if redis.call('ZSCORE', source, element) then
      redis.call('LPUSH', public, replacement)
      redis.call('ZREM', source, element)
      moved = moved + 1
    else
      state = 'changed'
    end
  elseif redis.call('HEXISTS', source, element) == 1 then
    redis.call('RPUSH', public, replacement)
    redis.call('HDEL', source, element)
    moved = moved + 1
  else
    state = 'changed'
  end
end
if moved > 0 then redis.call('PERSIST', public) end
if expected == 'hash' then
  local left = false
  for _, field in ipairs(redis.call('HKEYS', source)) do left = left or string.find(field, '^%d+-%d+$') end
  if not left then
    redis.call('DEL', source)
    redis.call('ZREM', consumers, cid)
    redis.call('HDEL', control, 'n:' .. cid)
  end
end
return { moved, state }
