// Ordinary Node work: objects, buffers, JSON, streams through the thread pool, worker threads, garbage collection.
'use strict';
const crypto = require('crypto');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

let state = 7;
function chance(limit) {
  state = (state * 1103515245 + 12345) % 2147483648;
  return Math.floor(state / 65536) % limit;
}
const digest = (data) => crypto.createHash('sha256').update(data).digest('hex').slice(0, 16);

if (!isMainThread) {
  const rows = [];
  state = workerData;
  for (let step = 0; step < 20000; step++) {
    rows.push(Buffer.alloc(chance(3000), step % 256));
    if (rows.length > 200) rows.splice(chance(200), 1);
  }
  const joined = Buffer.concat(rows);
  const shared = new ArrayBuffer(joined.length);
  new Uint8Array(shared).set(joined);
  parentPort.postMessage(shared, [shared]);
} else {
  main().catch((error) => { console.error(error); process.exit(1); });
}

async function main() {
  const table = new Map();
  for (let step = 0; step < 200000; step++) {
    table.set(chance(30000), 'value'.repeat(1 + chance(20)));
    if (step % 3 === 0) table.delete(chance(30000));
  }
  console.log('table', table.size, digest([...table].sort((a, b) => a[0] - b[0]).join()));

  let document = {};
  for (let number = 0; number < 5000; number++) {
    document[number] = { name: 'n'.repeat(number % 40), list: Array.from({ length: number % 30 }, (_, place) => place) };
  }
  for (let round = 0; round < 5; round++) document = JSON.parse(JSON.stringify(document));
  console.log('document', digest(JSON.stringify(document)));

  const pieces = [];
  for (let number = 0; number < 3000; number++) pieces.push(Buffer.alloc(chance(10000), number % 256));
  const data = Buffer.concat(pieces);
  console.log('buffers', data.length, digest(data));

  const round = (input) => new Promise((resolve, reject) => {
    zlib.deflate(input, { level: 1 }, (error, packed) => error ? reject(error)
      : zlib.inflate(packed, (failure, output) => failure ? reject(failure) : resolve(output)));
  });
  const parts = await Promise.all(Array.from({ length: 8 }, (_, place) => round(data.subarray(place * 1000000, (place + 1) * 1000000))));
  console.log('pool', parts.map(digest).join(' '));

  const keys = await Promise.all(Array.from({ length: 8 }, (_, place) => new Promise((resolve, reject) =>
    crypto.pbkdf2('secret', 'salt' + place, 2000, 64, 'sha512', (error, key) => error ? reject(error) : resolve(key)))));
  console.log('keys', digest(Buffer.concat(keys)));

  const answers = await Promise.all([1, 2, 3, 4].map((seed) => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: seed });
    worker.once('error', reject);
    let answer;
    worker.once('message', (shared) => { answer = `${shared.byteLength} ${digest(Buffer.from(shared))}`; });
    worker.once('exit', () => resolve(answer));
  })));
  console.log('workers', answers.join(' '));
}
