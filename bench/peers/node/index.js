// Node.js: amqplib and pg, one transaction a message over ten connections, prefetch 100.
// A message that is delivered twice fails on the primary key, and nothing keeps the order.

import { once } from "node:events";
import { createInterface } from "node:readline";
import amqplib from "amqplib";
import pg from "pg";

const PREFETCH = 100;
const CONNECTIONS = 10;
const INSERT = "INSERT INTO queries (id, session_id, text, metadata) VALUES ($1, $2, $3, $4) RETURNING *";

const [line] = await once(createInterface({ input: process.stdin }), "line");
const job = JSON.parse(line);

const pool = new pg.Pool({ connectionString: job.database_url, max: CONNECTIONS });
const inbound = await amqplib.connect(job.rabbitmq_url);
const outbound = await amqplib.connect(job.rabbitmq_url);
const requests = await inbound.createChannel();
const results = await outbound.createConfirmChannel();
await requests.prefetch(PREFETCH);

async function store(query) {
  const client = await pool.connect();
  try {
    await client.query("BEGIN");
    const { rows } = await client.query(INSERT, [query.id, query.session_id, query.text, query.metadata]);
    await client.query("COMMIT");
    return rows[0];
  } finally {
    client.release();
  }
}

function publish(row, correlationId) {
  const options = { persistent: true, contentType: "application/json", correlationId };
  return new Promise((resolve, reject) => {
    results.publish("", job.results, Buffer.from(JSON.stringify(row)), options, (error) =>
      error ? reject(error) : resolve(),
    );
  });
}

const measure = await new Promise((resolve, reject) => {
  let skipped = 0;
  let settled = 0;
  let begun;
  let cpuBegun;

  async function serve(message) {
    if (begun === undefined && skipped >= job.skipped) {
      begun = performance.now();
      cpuBegun = process.cpuUsage();
    }
    const row = await store(JSON.parse(message.content));
    await publish(row, message.properties.correlationId);
    requests.ack(message);
    if (begun === undefined) {
      skipped += 1;
      return;
    }
    settled += 1;
    const seconds = (performance.now() - begun) / 1000;
    if (seconds >= job.seconds || skipped + settled === job.messages) {
      const { user, system } = process.cpuUsage(cpuBegun);
      resolve({ messages: settled, seconds, cpu_seconds: (user + system) / 1e6 }); // only the first time counts
    }
  }

  requests.consume(job.requests, (message) => serve(message).catch(reject)).catch(reject);
});

// Without a goodbye: what is half served comes again, and nobody stumbles over a channel that closes under it.
console.log(JSON.stringify(measure));
process.exit(0);
