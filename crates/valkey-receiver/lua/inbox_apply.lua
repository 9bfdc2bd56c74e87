#!lua
-- transition: an effect that is commands, and its mark, in one step: no mark -> done
-- KEYS: 1 inbox:<key> STRING, then every key that the commands name
-- ARGV: 1 retention ms, 2 number of commands (0..64), then each command, led by the number of its words (1..512)
-- Returns: {'applied'}, {'done'}: it was before, nothing was changed; {'refused', error}: the first command failed, nothing was changed;
--          {'broke', number, error}: this command failed after others had been carried out, now and never again; {'half'}: so it was before
-- Keeps: the commands are carried out by one call only; a mark is written if and only if anything was
-- No allow-oom: the commands may need memory. A full server refuses the call before its first line.

local MOST_COMMANDS, MOST_WORDS = 64, 512
local MARK = KEYS[1]
local retention, count = tonumber(ARGV[1]), tonumber(ARGV[2])
local commands, at = {}, 3
local well = #KEYS >= 1 and retention and retention >= 1 and count and count >= 0 and count <= MOST_COMMANDS
for i = 1, well and count or 0 do
  local words = tonumber(ARGV[at])
  if not words or words < 1 or words > MOST_WORDS or #ARGV < at + words then well = false break end
  commands[i] = { at + 1, at + words }
  at = at + words + 1
end
if not well or at ~= #ARGV + 1 then return { err = 'ERR inbox_apply.lua: malformed arguments' } end
if not redis.acl_check_cmd('set', MARK) then return { err = "NOPERM an inbox needs the 'set' command" } end
local mark = redis.pcall('GET', MARK)
if type(mark) == 'table' and mark.err then
  return { err = string.sub(mark.err, 1, 9) == 'WRONGTYPE' and 'WRONGTYPE key ' .. MARK .. ' is no mark of an inbox' or mark.err }
end
if mark == 'd' then return { 'done' } end
if mark == 'h' then return { 'half' } end
if mark then return { err = 'ERR key ' .. MARK .. ' is claimed by a run of another kind of inbox' } end

-- What can be known to fail is known before the first of them.
for _, command in ipairs(commands) do
  local known, may = pcall(redis.acl_check_cmd, unpack(ARGV, command[1], command[2]))
  if not known then return { 'refused', "there is no command '" .. ARGV[command[1]] .. "' of this form" } end
  if not may then return { err = "NOPERM the effect needs the '" .. string.lower(ARGV[command[1]]) .. "' command" } end
end
local ttl = string.format('%.0f', retention)
for i, command in ipairs(commands) do
  local reply = redis.pcall(unpack(ARGV, command[1], command[2]))
  if type(reply) == 'table' and reply.err then
    if i == 1 then return { 'refused', reply.err } end
    redis.call('SET', MARK, 'h', 'PX', ttl)
    return { 'broke', i, reply.err }
  end
end
redis.call('SET', MARK, 'd', 'PX', ttl)
return { 'applied' }
