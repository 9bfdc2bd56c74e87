#!lua flags=allow-oom
-- transition  what is remembered of a registration -> the same after one more step
--
-- KEYS  1 the hash of the registration
-- ARGV  1 the revision that the writer has read, 0 for none
--       2 who writes: a text that no other run has
--       3 how long it is remembered from now, in ms
--       then two per field: its name, and its value ('' removes it)
-- Returns the new revision; -1: somebody else has written meanwhile; -2: the key holds something else.
--         A key that is gone was written by nobody: the store has lost it, and the writer has all of it.
--         Nothing was done in the last two cases.
-- Keeps - of two runs that have read the same revision, one writes.
--       - a write whose answer was lost may be repeated: it is known by who wrote it, and done once.
--       - fields that the writer does not know stay as they are.
-- Without memory left it works all the same: a step that is not remembered is done twice, and what it writes is little.

local key, read, by, lifetime = KEYS[1], tonumber(ARGV[1]), ARGV[2], tonumber(ARGV[3])
if not read or not by or by == '' or not lifetime or lifetime < 1 or #ARGV % 2 == 0 then
  return redis.error_reply('ERR save: malformed call')
end
local kind = redis.call('TYPE', key)['ok']
if kind ~= 'none' and kind ~= 'hash' then
  return -2
end
local known = redis.call('HMGET', key, 'revision', 'by')
local revision = tonumber(known[1] or '0') or 0
if revision == read + 1 and known[2] == by then
  return revision
elseif revision ~= read and kind ~= 'none' then
  return -1
end
local clock = redis.call('TIME')
local now = string.format('%.0f', tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000))
for at = 4, #ARGV, 2 do
  if ARGV[at + 1] == '' then
    redis.call('HDEL', key, ARGV[at])
  else
    redis.call('HSET', key, ARGV[at], ARGV[at + 1])
  end
end
revision = read + 1
redis.call('HSET', key, 'revision', string.format('%.0f', revision), 'by', by, 'updated', now)
redis.call('PEXPIRE', key, string.format('%.0f', lifetime))
return revision
