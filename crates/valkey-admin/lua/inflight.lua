#!lua flags=no-writes
-- transition: none; how much one consumer holds, and since when.
--
-- KEYS  1 T:inflight:<cid> HASH
-- ARGV  none
-- Returns { type, messages, claim time ms of the oldest or '' }
-- Keeps - of all the messages only the one claimed first is read: the hash may hold hundreds of megabytes.

local key = KEYS[1]
local kind = redis.call('TYPE', key).ok
if kind ~= 'hash' then return { kind, 0, '' } end

local count, oldest, oldest_take, oldest_item = 0, nil, nil, nil
for _, field in ipairs(redis.call('HKEYS', key)) do
  local take, item = string.match(field, '^(%d+)-(%d+)$')
  if take then
    count = count + 1
    take, item = tonumber(take), tonumber(item)
    if not oldest or take < oldest_take or (take == oldest_take and item < oldest_item) then
      oldest, oldest_take, oldest_item = field, take, item
    end
  end
end
local claimed = ''
if oldest then
  -- A bare message has no header: the number of its take tells when.
  claimed = string.match(redis.call('HGET', key, oldest), '^(%d+)|') or string.format('%.0f', math.floor(oldest_take / 16))
end
return { kind, count, claimed }
