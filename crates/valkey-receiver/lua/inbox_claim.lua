#!lua
-- transition: no mark, or a claim that ran out -> claimed by one run of an effect
-- KEYS: 1 inbox:<key> STRING
-- ARGV: 1 token of the run (no '|'), 2 lease ms, 3 retention ms, 4 '1' if a claim that ran out may be taken over
-- Returns: {'run', now ms}, {'again', now ms}: an earlier run ended without a word; {'busy', now ms, ms until the claim ends};
--          {'doubt', now ms}: as again, and it may not be taken over; {'done', now ms}; {'half', now ms}
-- Keeps: one claim is alive at a time, by the server's clock; done stays done; asked again with the same token, the answer is the same
-- No allow-oom: on a full server no effect is begun that could not be marked.

local MARK = KEYS[1]
local token, lease, retention = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if #KEYS ~= 1 or not (token and lease and retention) or lease < 1 or retention < lease then
  return { err = 'ERR inbox_claim.lua: malformed arguments' }
end
if not redis.acl_check_cmd('set', MARK) then return { err = "NOPERM an inbox needs the 'set' command" } end
local mark = redis.pcall('GET', MARK)
if type(mark) == 'table' and mark.err then
  return { err = string.sub(mark.err, 1, 9) == 'WRONGTYPE' and 'WRONGTYPE key ' .. MARK .. ' is no mark of an inbox' or mark.err }
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local word = 'run'
if mark == 'd' then return { 'done', now } end
if mark == 'h' then return { 'half', now } end
if mark then
  local deadline, owner = string.match(mark, '^c|(%d+)|([^|]+)$')
  if not deadline then return { err = 'WRONGTYPE key ' .. MARK .. ' is no mark of an inbox' } end
  -- A deadline further ahead than a lease is from before the clock stepped back.
  local left = math.min(tonumber(deadline) - now, lease)
  if owner ~= token then
    if left > 0 then return { 'busy', now, left } end
    if ARGV[4] ~= '1' then return { 'doubt', now } end
    word = 'again'
  end
end
redis.call('SET', MARK, string.format('c|%.0f|', now + lease) .. token, 'PX', string.format('%.0f', retention))
return { word, now }
