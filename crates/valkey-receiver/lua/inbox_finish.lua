#!lua flags=allow-oom
-- transition: claimed by this run -> done, or none again, or in doubt
-- KEYS: 1 inbox:<key> STRING
-- ARGV: 1 token of the run, 2 retention ms, 3 'done' | 'free' (nothing happened, anybody may begin) | 'doubt' (nobody knows)
-- Returns: 'ok', or 'lost': another run has taken the claim over, and nothing was changed
-- Keeps: a run changes its own claim only; done is written also where the claim is gone, because the effect did happen

local MARK = KEYS[1]
local token, retention, what = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if #KEYS ~= 1 or not (token and retention) or (what ~= 'done' and what ~= 'free' and what ~= 'doubt') then
  return { err = 'ERR inbox_finish.lua: malformed arguments' }
end
local mark = redis.pcall('GET', MARK)
if type(mark) == 'table' and mark.err then
  return { err = string.sub(mark.err, 1, 9) == 'WRONGTYPE' and 'WRONGTYPE key ' .. MARK .. ' is no mark of an inbox' or mark.err }
end
if mark and string.match(mark, '^c|%d+|([^|]+)$') ~= token then
  -- Done before: by this run, whose answer was lost, or by one that took over.
  return mark == 'd' and what == 'done' and 'ok' or 'lost'
end
local ttl = string.format('%.0f', retention)
if what == 'done' then
  redis.call('SET', MARK, 'd', 'PX', ttl)
elseif what == 'doubt' then
  redis.call('SET', MARK, 'c|0|' .. token, 'PX', ttl)
elseif mark then
  redis.call('DEL', MARK)
end
return 'ok'
