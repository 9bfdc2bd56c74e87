#!lua
-- transition  envelopes -> lanes or delayed set of one queue; each item is pushed, scheduled, duplicate or full
--
-- KEYS  1 public list        2 high lane         3 low lane          4 delayed set
--       5 control hash       6 dedup generation g                    7 dedup generation g-1
--       8 woken list (read)  9 redo list (read)  10 bell (shard channel)
-- ARGV  1 dedup window in ms ('0' = no item carries a dedup id)      2 generation g the caller believes in
--       3 the caller's own max length ('' = none)
--       then five per item, at most 256 items:
--         lane 'n' | 'h' | 'l'
--         due in Unix ms ('0' = now)
--         frame head of the delayed member, `<fresh id>|0|0|<lane>|` ('' if due is '0')
--         dedup id ('' = none)
--         the encoded envelope
-- Returns { 'ok', now_ms, fates, limit }: one letter an item in `fates`,
--           p pushed to its lane, s scheduled, d duplicate (nothing added), f full (nothing done);
--           limit = the max length in force ('' = none).
--         { 'stale', now_ms }: the clock of this server is not in generation g. Nothing was done; call again
--           with the generation floor(now_ms / window).
-- Keeps - waiting messages (public, lanes, woken, redo, delayed) never exceed the limit; what is accepted is a prefix
--         of the items that are no duplicates, so that order survives a partly full queue.
--       - an id is in a generation only if this very run pushed its item: pushes come first, marks after them.
--       - a duplicate touches the generation that knows it, without changing it: who waits for the acknowledgement of
--         what this run wrote waits for the earlier message, too.
--       - no message is framed on its way to a lane; the public list never expires.
--       - whatever can fail (types, arguments, a full store) fails before the first write. Memory is checked by the
--         server before the first line: no `allow-oom` here, a full store must refuse new messages.

local MAX_ITEMS, FIELDS, FIRST = 256, 5, 4

local public, high, low, delayed, control = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local current, previous, woken, redo, bell = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]

local window, generation = tonumber(ARGV[1]), tonumber(ARGV[2])
local items = (#ARGV - FIRST + 1) / FIELDS
if #KEYS ~= 10 or not window or not generation or items < 0 or items > MAX_ITEMS or items % 1 ~= 0 then
  return redis.error_reply('ERR push: malformed call, expected 10 keys and 3 + 5n arguments, n <= 256')
end

-- A read that fails on a foreign type, told with the name of the key.
local failure
local function read(command, key, ...)
  local reply = redis.pcall(command, key, ...)
  if type(reply) == 'table' and reply.err then
    failure = failure or reply
    if string.sub(reply.err, 1, 9) == 'WRONGTYPE' then
      failure = { err = 'WRONGTYPE key ' .. key .. ' holds another type than push needs (' .. command .. ')' }
    end
    return nil
  end
  return reply
end

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local now_text = string.format('%.0f', now)
if window > 0 and math.floor(now / window) ~= generation then
  return { 'stale', now_text }
end

-- Read: what the items ask for, and which keys they touch.
local uses, schedules = { n = false, h = false, l = false }, false
local due, ids, id_items = {}, {}, {}
for i = 1, items do
  local base = FIRST + (i - 1) * FIELDS
  local lane, at = ARGV[base], tonumber(ARGV[base + 1])
  if uses[lane] == nil or not at then
    return redis.error_reply('ERR push: item ' .. i .. ' has no lane n, h or l, or no due time')
  end
  if at > now then
    if ARGV[base + 2] == '' then
      return redis.error_reply('ERR push: item ' .. i .. ' is due later and has no frame head')
    end
    due[i] = at
    schedules = true
  else
    uses[lane] = true
  end
  if window > 0 and ARGV[base + 3] ~= '' then
    ids[#ids + 1] = ARGV[base + 3]
    id_items[#id_items + 1] = i
  end
end

local configured = read('HGET', control, 'max_length')
local limit = tonumber(ARGV[3])
if configured then
  local value = tonumber(configured)
  if not value or value < 0 then
    return redis.error_reply('ERR push: max_length in ' .. control .. ' is not a number')
  end
  limit = limit and math.min(limit, value) or value
end

local room = math.huge
if limit then
  local waiting = 0
  for _, key in ipairs({ public, high, low, woken, redo }) do
    waiting = waiting + (read('LLEN', key) or 0)
  end
  room = limit - waiting - (read('ZCARD', delayed) or 0)
else
  if uses.n then read('LLEN', public) end
  if uses.h then read('LLEN', high) end
  if uses.l then read('LLEN', low) end
end

local earliest
if schedules then
  local head = read('ZRANGE', delayed, 0, 0, 'WITHSCORES')
  earliest = head and tonumber(head[2]) or math.huge
end

local seen, known_in = {}, {}
if #ids > 0 then
  local in_current = read('SMISMEMBER', current, unpack(ids))
  local in_previous = read('SMISMEMBER', previous, unpack(ids))
  if in_current and in_previous then
    for n, i in ipairs(id_items) do
      if in_current[n] == 1 or in_previous[n] == 1 then
        seen[ARGV[FIRST + (i - 1) * FIELDS + 3]] = true
        known_in[in_current[n] == 1 and generation or generation - 1] = true
      end
    end
  end
end
if failure then return failure end

-- Decide: one fate an item, nothing written yet.
local fates = {}
local lanes, members, marks = { n = {}, h = {}, l = {} }, {}, {}
local rings = false
for i = 1, items do
  local base = FIRST + (i - 1) * FIELDS
  local id = window > 0 and ARGV[base + 3] or ''
  if id ~= '' and seen[id] then
    fates[i] = 'd'
  elseif room < 1 then
    fates[i] = 'f'
  else
    room = room - 1
    if id ~= '' then
      seen[id] = true
      marks[#marks + 1] = id
    end
    if due[i] then
      fates[i] = 's'
      members[#members + 1] = string.format('%.0f', due[i])
      members[#members + 1] = ARGV[base + 2] .. ARGV[base + 4]
      if due[i] < earliest then
        earliest = due[i]
        rings = true
      end
    else
      fates[i] = 'p'
      local lane = lanes[ARGV[base]]
      lane[#lane + 1] = ARGV[base + 4]
    end
  end
end

-- Write. Messages first, marks after: if a rule of access control stops the run in between, a message may come
-- twice, but none is taken for sent that was not.
if #lanes.n > 0 then
  redis.call('LPUSH', public, unpack(lanes.n))
  redis.pcall('PERSIST', public)
end
if #lanes.h > 0 then redis.call('LPUSH', high, unpack(lanes.h)) end
if #lanes.l > 0 then redis.call('LPUSH', low, unpack(lanes.l)) end
if #members > 0 then redis.call('ZADD', delayed, unpack(members)) end
if #marks > 0 then redis.call('SADD', current, unpack(marks)) end
-- A generation of ids expires when the one after it does. Said again for duplicates, it is a write that changes nothing.
if #marks > 0 or known_in[generation] then
  redis.call('PEXPIREAT', current, string.format('%.0f', (generation + 2) * window))
end
if known_in[generation - 1] then
  redis.call('PEXPIREAT', previous, string.format('%.0f', (generation + 1) * window))
end
-- A single message on the public list wakes its reader by itself; everything else needs the bell, a lossy hint.
if rings or #lanes.h + #lanes.l > 0 or #lanes.n > 1 then redis.pcall('SPUBLISH', bell, 'push') end

return { 'ok', now_text, table.concat(fates), limit and string.format('%.0f', limit) or '' }
