#!lua flags=allow-oom
-- transition  a service account -> the same, with one attempt to log in under way
--
-- KEYS  1 the hash of the account
-- ARGV  1 the ticket of the attempt: a text that no other has
--       2 the fingerprint of its password
--       3 how long it takes at most, in ms
--       4 how long an attempt counts, in ms
--       5 as many attempts there may be that came to nothing, or are under way
--       6 as many may be under way while the account is known to be well; else one
--       7 1: also if this password was refused
-- Returns one of
--         {0} it may be made
--         {1, why, by, how long ago, how long not: in ms} this password was refused
--         {2} others are under way
--         {3, how long not, in ms} there were too many
--         {4, how long not, in ms} of the last nobody knows what came of them
--         {-1} the key holds something else
-- Keeps - within the time that an attempt counts, no more than ARGV 5 can have been refused, whoever makes them.
--       - an attempt that nobody settles counts as one that came to nothing, unless the account was well just before.
--       - after two of which nobody knows what came of them the next follow so far apart that the bound is not met by them alone.
--
-- fields  accepted  when a login was accepted last, unless one was refused since
--         n:TICKET  under way: until when
--         l:TICKET  its process died, or nobody knows what came of it: when
--         r:TICKET  refused: when, until when its password is not tried, the password's fingerprint, why, by whom

local key, ticket, print = KEYS[1], ARGV[1], ARGV[2]
local lease, window, most, abreast = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if not ticket or ticket == '' or not print or not lease or not window or not most or not abreast then
  return redis.error_reply('ERR admit: malformed call')
end
local kind = redis.call('TYPE', key)['ok']
if kind ~= 'none' and kind ~= 'hash' then
  return {-1}
end
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local known = redis.call('HGETALL', key)
local is_well = false
for at = 1, #known, 2 do
  if known[at] == 'accepted' then
    is_well = (tonumber(known[at + 1]) or 0) + window > now
  end
end

local failed, under_way, first, refusal = 0, 0, nil, nil
local unclear, last = 0, 0
-- One that came to nothing counts for a while.
local function count(name, when)
  if when + window <= now then
    redis.call('HDEL', key, name)
    return false
  end
  failed = failed + 1
  if not first or when < first then
    first = when
  end
  return true
end
local function count_unclear(name, when)
  if count(name, when) then
    unclear = unclear + 1
    last = math.max(last, when)
  end
end
for at = 1, #known, 2 do
  local name, value = known[at], known[at + 1]
  local sort = string.sub(name, 1, 2)
  if sort == 'n:' then
    local ends = tonumber(value) or 0
    if name == 'n:' .. ticket then
      return {0}
    elseif ends > now then
      under_way = under_way + 1
    else
      redis.call('HDEL', key, name)
      if not is_well and ends + window > now then
        redis.call('HSET', key, 'l:' .. string.sub(name, 3), value)
        count_unclear('l:' .. string.sub(name, 3), ends)
      end
    end
  elseif sort == 'l:' then
    count_unclear(name, tonumber(value) or 0)
  elseif sort == 'r:' then
    local when, ends, of, why, by = string.match(value, '^(%d+) (%d+) (%S+) (%S+) (%S+)$')
    when, ends = tonumber(when) or 0, tonumber(ends) or 0
    if count(name, when) and of == print and ends > now and (not refusal or ends > refusal[2]) then
      refusal = {when, ends, why, by}
    end
  end
end

if refusal and ARGV[7] ~= '1' then
  return {1, refusal[3], refusal[4], now - refusal[1], refusal[2] - now}
elseif failed >= most then
  return {3, first + window - now}
elseif unclear >= 2 and last + window / 4 > now and ARGV[7] ~= '1' then
  return {4, math.ceil(last + window / 4 - now)}
elseif under_way >= (is_well and abreast or 1) or failed + under_way >= most then
  return {2}
end
redis.call('HSET', key, 'n:' .. ticket, string.format('%.0f', now + lease))
redis.call('PEXPIRE', key, string.format('%.0f', window + lease))
return {0}
