// Ask DB with amqplib.

import { setTimeout } from "node:timers/promises";
import amqp from "amqplib";

const [url, exchange, operation, body, messageId, correlationId] = process.argv.slice(2);

const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();
const replyTo = "amq.rabbitmq.reply-to"; // RabbitMQ's direct reply-to: an answer without a queue
const answered = new Promise((resolve) => channel.consume(replyTo, resolve, { noAck: true }));

channel.publish(exchange, operation, Buffer.from(body), {
  contentType: "application/json",
  persistent: true,
  messageId, // sent again under the same one, it is applied once
  correlationId,
  replyTo,
});
await channel.waitForConfirms();

const answer = await Promise.race([answered, setTimeout(30_000, null, { ref: false })]);
if (!answer) throw new Error("no answer; it may be asked again under the same message_id");
await connection.close();

const { type, contentType, correlationId: answers } = answer.properties;
console.log(JSON.stringify({ body: answer.content.toString(), type, content_type: contentType, correlation_id: answers }));
