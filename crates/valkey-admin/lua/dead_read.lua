#!lua flags=no-writes
-- transition: none; dead letters by id: when, why, and the first bytes of each.
--
-- KEYS  1 T:dead ZSET  2 T:dead:body HASH
-- ARGV  1 bytes of the message returned at most (0 = none)  2 bytes after which no further message is returned, only its length
--       then ids, at most 512
-- Returns an entry an id: { score or '' (not there), meta (JSON text) or '', length of the message or -1 (no body, or one that
--         cannot be read), first bytes }
-- Keeps - the metadata of a page travels without the messages.

local MAX_IDS, FIRST = 512, 3
local dead, body = KEYS[1], KEYS[2]
local cap, budget = tonumber(ARGV[1]), tonumber(ARGV[2])
if #KEYS ~= 2 or not cap or not budget or #ARGV - FIRST + 1 > MAX_IDS then
  return { err = 'ERR dead_read: malformed call, expected 2 keys, two byte limits and at most 512 ids' }
end
for key, wanted in pairs({ [dead] = 'zset', [body] = 'hash' }) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'none' and kind ~= wanted then
    return { err = 'WRONGTYPE key ' .. key .. ' holds a ' .. kind .. ', expected a ' .. wanted }
  end
end

local entries, bytes = {}, 0
for i = FIRST, #ARGV do
  local score = redis.call('ZSCORE', dead, ARGV[i])
  local entry = { score or '', '', -1, '' }
  local value = score and redis.call('HGET', body, ARGV[i])
  if value then
    local length, at = string.match(value, '^(%d+)|()')
    length = tonumber(length)
    if length and at + length - 1 <= #value then
      local message = string.sub(value, at + length)
      local shown = ''
      if bytes < budget then shown = string.sub(message, 1, cap) end
      bytes = bytes + #shown
      entry = { score, string.sub(value, at, at + length - 1), #message, shown }
    end
  end
  entries[#entries + 1] = entry
end
return entries
