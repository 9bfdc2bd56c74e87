#!lua flags=allow-oom
-- transition  an attempt to log in that is under way -> what came of it
--
-- KEYS  1 the hash of the account: see admit.lua
-- ARGV  1 the ticket of the attempt
--       2 accepted, rejected, nothing, or unclear: nobody knows
--       3 how long an attempt counts, in ms
--       4 the fingerprint of the password
--       5 how long this password is not tried again, in ms
--       6 why it was rejected, one word
--       7 who met that, one word
-- Returns 1; -1: the key holds something else, and nothing was done.
-- Keeps - a refusal is remembered also if the attempt took so long that it was given up.
--       - what is accepted is not held against anybody any more; refusals of other passwords stay.

local key, ticket, what, window, print = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
if not ticket or ticket == '' or not what or not window or not print then
  return redis.error_reply('ERR settle: malformed call')
end
local kind = redis.call('TYPE', key)['ok']
if kind ~= 'none' and kind ~= 'hash' then
  return -1
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
redis.call('HDEL', key, 'n:' .. ticket, 'l:' .. ticket)
if what == 'accepted' then
  local known = redis.call('HGETALL', key)
  for at = 1, #known, 2 do
    local sort, of = string.sub(known[at], 1, 2), string.match(known[at + 1], '^%d+ %d+ (%S+) ')
    if sort == 'l:' or (sort == 'r:' and of == print) then
      redis.call('HDEL', key, known[at])
    end
  end
  redis.call('HSET', key, 'accepted', string.format('%.0f', now))
elseif what == 'unclear' then
  -- Whoever was well may be so no longer.
  redis.call('HDEL', key, 'accepted')
  redis.call('HSET', key, 'l:' .. ticket, string.format('%.0f', now))
elseif what == 'rejected' then
  local ends = string.format('%.0f', now + (tonumber(ARGV[5]) or 0))
  redis.call('HDEL', key, 'accepted')
  local parts = {string.format('%.0f', now), ends, print, ARGV[6] or 'unrecognized', ARGV[7] or 'somebody'}
  redis.call('HSET', key, 'r:' .. ticket, table.concat(parts, ' '))
end
redis.call('PEXPIRE', key, string.format('%.0f', window))
return 1
