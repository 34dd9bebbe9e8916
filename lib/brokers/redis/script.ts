// What runs inside Redis: a batch of events gets its place in the order, all of it or nothing. It is the only one that
// writes to the log and to the histories.
//
// KEYS: meta, log, last of the caller's epoch, last of the proposed epoch, the publisher's, then for each event its
// idempotency key, if it has one, and of each target that keeps it: the history; where the event says a state, its states and
// their order in place of the history, and where it removes one, all three.
//
// meta  hash: e epoch, n number of the newest event, t-q id of the newest entry, hour when it was last tidied up, at… the
//       number of the newest event in an hour, run Redis's own run id, for which an instance has vouched
// log   stream, one entry a batch: e, n of its first event, t time, p publisher, s batch, b events, k presence, x those
//       that were stored before
// last  sorted set: of each target the number of its newest event; with '\0\0' behind it, of the newest one about a state. Its
//       member '\0' tells that it is there at all
// history of a target: stream, one entry an event, its id is the number: p number of the target's event before, t, v
// states of a target: hash, of each state, by name and key, the number, the time and the event; '\0' the number of the newest
//       one that was not kept, and how many there are
// order of them: sorted set, by their numbers
//
// Answers: OK number-of-the-first time | EXPIRED | STORED | ORDER | EPOCH epoch
export const PUBLISH = `
local meta, log, last, proposedLast, publisher = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local epoch, proposed, known, knownTime = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local publisherId, batch, behind, deadline = ARGV[5], tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local historySize, historyAge, logAge = ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local reset, presence, count = ARGV[12] == '1', ARGV[13], tonumber(ARGV[14])

local function text (number) return string.format('%d', number) end

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local stored = tonumber(redis.call('GET', publisher) or '0')
if batch > 0 then
  if batch <= stored then return { 'STORED' } end
  if now > deadline then return { 'EXPIRED' } end
  if stored < behind then return { 'ORDER' } end
end

local fields = redis.call('HMGET', meta, 'e', 'n', 't', 'q', 'hour')
local e, n, t, q = fields[1], tonumber(fields[2] or '0'), tonumber(fields[3] or '0'), tonumber(fields[4] or '0')

-- The present time and what the newest entry has: the next one's id is behind both.
local function add (values)
  if now > t then t = now q = 0 else q = q + 1 end
  return redis.pcall('XADD', log, 'MINID', '~', text(now - logAge), text(t) .. '-' .. text(q), unpack(values))
end

-- Nothing else is written where this fails. Returns the error, or nothing.
local function append (values)
  local added = add(values)
  if added.err and string.find(added.err, 'equal or smaller', 1, true) then
    -- Somebody else wrote to the log.
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
  -- The log may be there without what tells its newest entry.
  local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
  if newest then t = math.max(t, tonumber(string.match(newest[1], '^%d+'))) + 1 end
  t = math.max(t, knownTime + 1)
  n = 0
  redis.call('DEL', meta)
  local entry = { 'e', proposed, 'n', '1', 't', text(now), 'b', '[]' }
  if append(entry) then
    -- Somebody wrote to the log what nothing fits behind.
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
-- For each history its rows, number and event in turn: it is trimmed once, and has its other commands once.
local histories, rowsOf = {}, {}
-- For each hash of states what changes in it, each state once: its number and event, or false where it goes.
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

-- From here on nothing can fail any more.
if batch > 0 then redis.call('SET', publisher, text(batch), 'PX', 3600000) end
for idempotent, answer in pairs(answers) do redis.call('SET', idempotent, answer, 'PX', 3600000) end
-- The names of histories, less what stands before the target: a prefix of the client's may be part of it.
local prefix = #meta - #'meta' + #('h:' .. e .. ':')
local function addRow (history, ...)
  if redis.pcall('XADD', history, ...).err then
    -- Somebody else wrote to it.
    redis.call('DEL', history)
    redis.call('XADD', history, ...)
  end
end
for _, history in ipairs(histories) do
  local target = string.sub(history, prefix + 1)
  local rows = rowsOf[history]
  local previous = redis.call('ZSCORE', last, target) or '0'
  -- What it would not keep is not written to begin with.
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
    -- New, or somebody else wrote to it: what it had is lost.
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

-- Once an hour the numbers of targets whose histories have run out are forgotten.
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

/** Redis's clock. KEYS: any. */
export const TIME = "return redis.call('TIME')"

// Whether what Redis has is what it had: after a restart it may come from an older copy. Only an instance that saw it
// before can tell, and vouches for it; one that has just started asks.
//
// KEYS: meta. ARGV: epoch, number of the newest event that the instance knows of, '1' to vouch.
// Answers 1 where somebody has vouched for this run of Redis, or nobody has to since nothing is known of another one.
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
