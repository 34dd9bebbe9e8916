// What runs inside Redis. PUBLISH gives a batch of events its place in the order and stores all of it or nothing; nothing else
// writes to the log and the histories. The scripts must not know of connections or callers.
//
// KEYS: meta, log, last of the caller's epoch, last of the proposed epoch, publisher. Then for each event its idempotency key,
// if it has one, and for each target that keeps the event:
//   an event without a state: the history
//   one that sets a state: the states and their order
//   one that removes a state: the history, the states and their order
//
// meta      hash: e epoch, n number of the newest event, t and q the two parts of the newest entry's id, hour when it was last
//           tidied up, at<hour> the number of the newest event when it was, run the run id of Redis for which an instance has
//           vouched
// log       stream, one entry per batch: e epoch, n number of its first event, t time, p publisher, s number of the batch,
//           b events, k presence, x events that were stored before
// last      sorted set: the number of each target's newest event; under the target and '\0\0', of its newest event about a
//           state. The member '\0' is there as long as the set is
// publisher string: the number of the publisher's newest batch that is stored
// history   of a target: stream, one entry per event: its id is the event's number; p number of the target's event before it,
//           t time, v event. Example: 4-0 with p 0, then 9-0 with p 4
// states    of a target: hash, for each state (event name and key) the number, the time and the event; under '\0' the number of
//           the newest one that was not kept, and how many there are
// order     of a target's states: sorted set, scored by their numbers
//
// Answers:
//   OK first time   stored; the number of the first event, and Redis's time
//   STORED          the publisher's batch was stored before: this is a resend
//   EXPIRED         it came after its deadline, and is not stored
//   ORDER           the publisher's batch before it is not stored yet. Example: 7 must come after 6, and 5 is the newest one
//   EPOCH epoch     not stored: another epoch is in force, or a new one began. The caller sends again with this epoch
export const PUBLISH = `
local meta, log, last, proposedLast, publisher = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, proposed, known, knownTime = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local publisherId, batch, after, deadline = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local historySize, historyAge, logAge = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local reset, presence, count = ARGV[12] == '1', ARGV[13], tonumber(ARGV[14])

local function text (number) return string.format('%d', number) end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local stored = tonumber(redis.call('GET', publisher) or '0')
if batch > 0 then
  if batch <= stored then return { 'STORED' } end
  if now > deadline then return { 'EXPIRED' } end
  if stored < after then return { 'ORDER' } end
end

local fields = redis.call('HMGET', meta, 'e', 'n', 't', 'q', 'hour')
local e, n, t, q = fields[1], tonumber(fields[2] or '0'), tonumber(fields[3] or '0'), tonumber(fields[4] or '0')

-- The new id is after the newest entry's, even if the clock was set back.
local function add (values)
  if now > t then t = now q = 0 else q = q + 1 end
  return redis.pcall('XADD', log, 'MINID', '~', text(now - logAge), text(t) .. '-' .. text(q), unpack(values))
end

-- Returns the error, or nothing. With an error nothing was written.
local function append (values)
  local added = add(values)
  if added.err and string.find(added.err, 'equal or smaller', 1, true) then
    -- Another program wrote to the log.
    local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
    local time, sequence = string.match(newest and newest[1] or '0-0', '^(%d+)-(%d+)$')
    if tonumber(time) <= now + 60000 then
      t, q = math.max(now, tonumber(time)), tonumber(sequence)
      added = add(values)
    end
  end
  if added.err then return added end
  redis.call('HSET', meta, 'n', text(n), 't', text(t), 'q', text(q))
end

local function begin ()
  if redis.call('TYPE', log).ok ~= 'stream' then redis.call('DEL', log) end
  -- The log may be there although meta was lost.
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if newest then t = math.max(t, tonumber(string.match(newest[1], '^%d+'))) + 1 end
  t = math.max(t, knownTime + 1)
  n = 0
  redis.call('DEL', meta)
  local entry = { 'e', proposed, 'n', '1', 't', text(now), 'b', '[]' }
  if append(entry) then
    -- Another program wrote the largest id: nothing fits after it.
    redis.call('DEL', log)
    t = math.max(now, knownTime)
    append(entry)
  end
  redis.call('HSET', meta, 'e', proposed)
  redis.call('ZADD', proposedLast, -1, '\\0')
  redis.call('PEXPIRE', proposedLast, text(historyAge * 2 + 7200000))
  return { 'EPOCH', proposed }
end

local ours = e == epoch
if not e or redis.call('TYPE', log).ok ~= 'stream' or
  (ours and (reset or n < known or redis.call('EXISTS', last) == 0)) then return begin() end
if not ours then return { 'EPOCH', e } end

local first = n + 1
local events, before, answers = {}, {}, {}
-- Rows of each history: number, event, number, event, so that each history is trimmed once.
local histories, rowsOf = {}, {}
-- Changes of each hash of states: number and event, or false if the state is removed.
local hashes, changesOf = {}, {}
local key, argument = 6, 15
for i = 0, count - 1 do
  local event, idempotent, kept = ARGV[argument], ARGV[argument + 1] == '1', tonumber(ARGV[argument + 2])
  local state, remove = ARGV[argument + 3], ARGV[argument + 4] == '1'
  argument = argument + 5
  local width = state == '' and 1 or remove and 3 or 2
  local answered = false
  if idempotent then
    answered = answers[KEYS[key]] or redis.call('GET', KEYS[key])
    if not answered then answers[KEYS[key]] = e .. '.' .. text(n + 1) .. '.' .. text(now) end
    key = key + 1
  end
  if answered then
    before[#before + 1] = i .. ':' .. answered
  else
    n = n + 1
    events[#events + 1] = event
    for j = key, key + kept * width - 1, width do
      local hash = j
      if width ~= 2 then
        local rows = rowsOf[KEYS[j]]
        if not rows then
          rows = {}
          rowsOf[KEYS[j]] = rows
          histories[#histories + 1] = KEYS[j]
        end
        rows[#rows + 1] = text(n)
        rows[#rows + 1] = event
        hash = j + 1
      end
      if width ~= 1 then
        local changes = changesOf[KEYS[hash]]
        if not changes then
          changes = { order = KEYS[hash + 1], of = {} }
          changesOf[KEYS[hash]] = changes
          hashes[#hashes + 1] = KEYS[hash]
        end
        changes.of[state] = not remove and { text(n), event }
        changes.newest = text(n)
      end
    end
  end
  key = key + kept * width
end

local values = { 'e', e, 'n', text(first), 't', text(now), 'b', '[' .. table.concat(events, ',') .. ']' }
local function field (name, value)
  values[#values + 1] = name
  values[#values + 1] = value
end
if batch > 0 then
  field('p', publisherId)
  field('s', text(batch))
end
if #before > 0 then field('x', table.concat(before, ',')) end
if presence ~= '' then field('k', presence) end
local failed = append(values)
if failed then
  if not string.find(failed.err, 'equal or smaller', 1, true) and not string.find(failed.err, 'exhausted', 1, true) then return failed end
  redis.call('DEL', log)
  return begin()
end

-- From here on nothing can fail.
if batch > 0 then redis.call('SET', publisher, text(batch), 'PX', 3600000) end
for idempotent, answer in pairs(answers) do redis.call('SET', idempotent, answer, 'PX', 3600000) end
-- Where the target begins in a key. The client's keyPrefix may stand before the rest.
local prefix = #meta - #'meta' + #('h:' .. e .. ':')
local function addRow (history, ...)
  if redis.pcall('XADD', history, ...).err then
    -- Another program wrote to it.
    redis.call('DEL', history)
    redis.call('XADD', history, ...)
  end
end
for _, history in ipairs(histories) do
  local target = string.sub(history, prefix + 1)
  local rows = rowsOf[history]
  local previous = redis.call('ZSCORE', last, target) or '0'
  -- Rows that would be trimmed at once are not written.
  local from = math.max(1, #rows - 2 * historySize + 1)
  if from > 1 then previous = rows[from - 2] end
  for row = from, #rows - 2, 2 do
    addRow(history, rows[row] .. '-0', 'p', previous, 't', text(now), 'v', rows[row + 1])
    previous = rows[row]
  end
  local newest = rows[#rows - 1]
  addRow(history, 'MAXLEN', historySize, newest .. '-0', 'p', previous, 't', text(now), 'v', rows[#rows])
  redis.call('PEXPIRE', history, text(historyAge))
  redis.call('ZADD', last, newest, target)
end

local function hasType (name, expected)
  return redis.call('TYPE', name).ok == expected
end
for _, hash in ipairs(hashes) do
  local changes = changesOf[hash]
  local order = changes.order
  local target = string.sub(hash, prefix + 1) .. '\\0\\0'
  local whole = hasType(hash, 'hash') and string.match(redis.call('HGET', hash, '\\0') or '', '^(%d+) %d+$')
  if not hasType(order, 'zset') and not hasType(order, 'none') then redis.call('DEL', order) end
  if not whole or redis.call('ZCARD', order) ~= redis.call('HLEN', hash) - 1 then
    -- It is new, or another program changed it: its old states are lost.
    whole = redis.call('ZSCORE', last, target) or '0'
    redis.call('DEL', hash, order)
  end
  local set, numbers, gone = {}, {}, {}
  for state, new in pairs(changes.of) do
    if new then
      set[#set + 1] = state
      set[#set + 1] = new[1] .. ' ' .. text(now) .. ' ' .. new[2]
      numbers[#numbers + 1] = new[1]
      numbers[#numbers + 1] = state
    else
      gone[#gone + 1] = state
    end
  end
  if #set > 0 then
    redis.call('HSET', hash, unpack(set))
    redis.call('ZADD', order, unpack(numbers))
  end
  if #gone > 0 then
    redis.call('HDEL', hash, unpack(gone))
    redis.call('ZREM', order, unpack(gone))
  end
  local left = redis.call('ZCARD', order)
  if left > tonumber(historySize) then
    local oldest = redis.call('ZPOPMIN', order, left - historySize)
    for i = 1, #oldest, 2 do
      redis.call('HDEL', hash, oldest[i])
      whole = oldest[i + 1]
    end
    left = tonumber(historySize)
  end
  redis.call('HSET', hash, '\\0', whole .. ' ' .. text(left))
  redis.call('PEXPIRE', hash, text(historyAge))
  redis.call('PEXPIRE', order, text(historyAge))
  redis.call('ZADD', last, changes.newest, target)
end

-- Once an hour the numbers of targets whose histories have expired are removed.
local hour = math.floor(now / 3600000)
if tonumber(fields[5] or '-1') ~= hour then
  redis.call('HSET', meta, 'hour', hour, 'at' .. hour, text(n))
  redis.call('PEXPIRE', last, text(historyAge * 2 + 7200000))
  local all = redis.call('HGETALL', meta)
  for i = 1, #all, 2 do
    local at = tonumber(string.match(all[i], '^at(%d+)$'))
    if at and (hour - at - 1) * 3600000 > historyAge then
      redis.call('ZREMRANGEBYSCORE', last, 0, all[i + 1])
      redis.call('HDEL', meta, all[i])
    end
  end
end

return { 'OK', text(first), text(now) }
`

/** Redis's clock: seconds, microseconds. KEYS: any key of the hub. */
export const TIME = "return redis.call('TIME')"

// Whether Redis still has all that it had. After a restart it may have loaded an older copy, e.g. one that ends at event 70 while
// clients have got event 90. Only an instance that has read event 90 can tell. If Redis has it, the instance vouches for this
// run. An instance that has just started only asks.
//
// KEYS: meta. ARGV: epoch, number of the newest event that the instance knows, '1' to vouch.
// Answers 1 if an instance has vouched for this run of Redis, or if no other run is known. Else 0.
export const VOUCH = `
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local fields = redis.call('HMGET', KEYS[1], 'e', 'n', 'run')
local e, n, known = fields[1], tonumber(fields[2] or '0'), fields[3]
if known == run then return 1 end
if e == ARGV[1] and n >= tonumber(ARGV[2]) and (ARGV[3] == '1' or not known) then
  redis.call('HSET', KEYS[1], 'run', run)
  return 1
end
return 0
`
