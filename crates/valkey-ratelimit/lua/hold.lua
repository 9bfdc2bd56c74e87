#!lua flags=allow-oom
-- transition  what a process holds -> told to others; what it wants more of -> held, or not, all limits of a group or none
--
-- KEYS  at most 32, each once: the hash of a limit and subject. A field per process: `count:expiry_ms:lease_ms:number`.
-- ARGV  1 now in Unix milliseconds ('' = the clock of this server; a time is for tests)
--       2 the field of this process
--       3 its lease in ms
--       4 the number of this call: greater than that of any call of this process before it
--       then two per key:
--         how many this process holds
--         '' | 'k' (an earlier call may still come: write in any case, and keep the number also with 0) | 'l' (only look)
--       then per group: how many it wants at most, the number of its keys, and two per key:
--         the number of the key, from 1, each once in a group; none that is only looked at
--         how many there may be of it, of all processes
-- Returns one string: per key <i4 code, <I4 held by others, <i4 held by this process before (-1: nothing that lives);
--         then per group <I4 granted.
--         code = 0; -1: the key holds something else; -2: it has too many fields; -3: a later call came first.
--         Of the last three nothing was done with the key, and nothing granted that needs it.
-- Keeps - what is granted and what lives is never more than there may be, as far as processes say what they hold.
--       - a group is granted whole or not at all, as many times as it fits, the groups one after the other.
--       - what a process says of itself is written even if it is more than there may be: it is so.
--       - an earlier call that comes late changes nothing.
--       - a field counts until its expiry; the key goes when none is left that counts.
--       - an expiry more than two leases ahead (the clock was set back) is one lease ahead from then on.
--       - all arguments are understood, and all keys are read, before the first write.
-- Without memory left it works all the same: who cannot renew would not be counted, and what it writes is little.

local MAX_KEYS, MAX_GROUPS, MAX_FIELDS, MAX_SWEPT, MOST = 32, 32, 1024, 16, 2147483647

local floor, min, max, match, format = math.floor, math.min, math.max, string.match, string.format

local function malformed(what)
  return redis.error_reply('ERR hold: malformed call: ' .. what)
end

local function whole(text, least, most)
  local number = text and match(text, '^%d+$') and tonumber(text)
  return number and number >= least and number <= most and number or nil
end

local field, lease, number = ARGV[2], whole(ARGV[3], 1, MOST), whole(ARGV[4], 1, 9007199254740991)
if not field or field == '' or not lease or not number then
  return malformed('field, lease or number')
end
if #KEYS < 1 or #KEYS > MAX_KEYS then
  return malformed('number of keys')
end
local now
if ARGV[1] == '' then
  local clock = redis.call('TIME')
  now = tonumber(clock[1]) * 1000 + floor(tonumber(clock[2]) / 1000)
else
  now = whole(ARGV[1], 0, 9007199254740991)
  if not now then
    return malformed('time')
  end
end

local holds, at = {}, 5
for i = 1, #KEYS do
  local count, flag = whole(ARGV[at], 0, MOST), ARGV[at + 1]
  if not count or (flag ~= '' and flag ~= 'k' and flag ~= 'l') then
    return malformed('key ' .. i)
  end
  holds[i] = { key = KEYS[i], count = count, flag = flag, code = 0, others = 0, last = 0, dead = {}, ahead = {} }
  at = at + 2
end

local groups = {}
while at <= #ARGV do
  local times, size = whole(ARGV[at], 0, MOST), whole(ARGV[at + 1], 1, #KEYS)
  if not times or not size or #groups == MAX_GROUPS then
    return malformed('group ' .. #groups + 1)
  end
  local group, seen = { times = times, members = {} }, {}
  for i = 1, size do
    local index, most = whole(ARGV[at + 2 * i], 1, #KEYS), whole(ARGV[at + 2 * i + 1], 0, MOST)
    if not index or not most or seen[index] or holds[index].flag == 'l' then
      return malformed('member of group ' .. #groups + 1)
    end
    seen[index] = true
    group.members[i] = { hold = holds[index], most = most }
  end
  groups[#groups + 1] = group
  at = at + 2 + 2 * size
end

-- What others hold, and what this process said before.
local function read(hold)
  local kind = redis.call('TYPE', hold.key)['ok']
  if kind == 'none' then
    return 0
  elseif kind ~= 'hash' then
    return -1
  elseif redis.call('HLEN', hold.key) > MAX_FIELDS then
    return -2
  end
  local code, fields = 0, redis.call('HGETALL', hold.key)
  for i = 1, #fields, 2 do
    local count, expiry, length, said = match(fields[i + 1], '^(%d+):(%d+):(%d+):(%d+)$')
    if not count then
      return -1
    end
    count, expiry, length = tonumber(count), tonumber(expiry), tonumber(length)
    if count > MOST or expiry > 9007199254740991 or length > MOST then
      return -1
    end
    if fields[i] == field then
      if tonumber(said) >= number and hold.flag ~= 'l' then
        code = -3
      end
      hold.found = true
      if expiry > now then
        hold.before, hold.expiry = count, expiry
      end
    elseif expiry <= now then
      hold.dead[#hold.dead + 1] = fields[i]
    else
      if expiry > now + 2 * length then
        expiry = now + length
        hold.ahead[#hold.ahead + 1] = { fields[i], format('%.0f:%.0f:%.0f:%s', count, expiry, length, said) }
      end
      hold.others = hold.others + count
      hold.last = max(hold.last, expiry)
    end
  end
  return code
end

for _, hold in ipairs(holds) do
  hold.code = read(hold)
end

local reply, granted = {}, {}
for i, group in ipairs(groups) do
  local fits = group.times
  for _, member in ipairs(group.members) do
    local hold = member.hold
    fits = hold.code == 0 and min(fits, member.most - hold.others - hold.count) or 0
  end
  fits = max(fits, 0)
  for _, member in ipairs(group.members) do
    member.hold.count = member.hold.count + fits
  end
  granted[i] = struct.pack('<I4', fits)
end

local swept = 0
for i, hold in ipairs(holds) do
  local key, count, keep = hold.key, hold.count, hold.flag == 'k'
  if hold.code == 0 and hold.flag ~= 'l' then
    local lasts = hold.expiry and hold.expiry <= now + lease and hold.expiry > now + 0.75 * lease
    if count == 0 and not keep then
      if hold.found then
        redis.call('HDEL', key, field)
      end
    elseif keep or hold.before ~= count or not lasts then
      redis.call('HSET', key, field, format('%.0f:%.0f:%.0f:%.0f', count, now + lease, lease, number))
      redis.call('PEXPIRE', key, max(hold.last, now + lease) - now)
    end
    for j = 1, min(#hold.dead, MAX_SWEPT - swept) do
      redis.call('HDEL', key, hold.dead[j])
      swept = swept + 1
    end
    for j = 1, min(#hold.ahead, MAX_SWEPT - swept) do
      redis.call('HSET', key, hold.ahead[j][1], hold.ahead[j][2])
      swept = swept + 1
    end
  end
  reply[i] = struct.pack('<i4I4i4', hold.code, min(hold.others, 4294967295), hold.before or -1)
end
return table.concat(reply) .. table.concat(granted)
