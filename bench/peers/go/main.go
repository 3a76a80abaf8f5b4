// Go: amqp091-go and pgx, one transaction a message over ten connections, prefetch 100.
// A message that is delivered twice fails on the primary key, and nothing keeps the order.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"log"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v4"
	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	prefetch    = 100
	connections = 10
	insert      = `INSERT INTO queries (id, session_id, text, metadata) VALUES ($1, $2, $3, $4)
		RETURNING status, created_at, updated_at, version`
)

type job struct {
	Seconds     float64 `json:"seconds"`
	Messages    int     `json:"messages"`
	Skipped     int     `json:"skipped"`
	RabbitmqURL string  `json:"rabbitmq_url"`
	DatabaseURL string  `json:"database_url"`
	Requests    string  `json:"requests"`
	Results     string  `json:"results"`
}

type query struct {
	ID        string                 `json:"id"`
	SessionID string                 `json:"session_id"`
	Text      string                 `json:"text"`
	Metadata  map[string]interface{} `json:"metadata"`
}

type row struct {
	query
	Status    string    `json:"status"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
	Version   int       `json:"version"`
}

type measure struct {
	Messages   int     `json:"messages"`
	Seconds    float64 `json:"seconds"`
	CPUSeconds float64 `json:"cpu_seconds"`
}

// stopwatch is started by the first delivery that is not skipped, and stopped when the time is up or the last message is settled.
type stopwatch struct {
	sync.Mutex
	job      job
	begun    time.Time
	cpuBegun float64
	skipped  int
	settled  int
	ended    chan measure
}

func (watch *stopwatch) start() {
	watch.Lock()
	defer watch.Unlock()
	if watch.begun.IsZero() && watch.skipped >= watch.job.Skipped {
		watch.begun, watch.cpuBegun = time.Now(), cpuSeconds()
	}
}

func (watch *stopwatch) settle() {
	watch.Lock()
	defer watch.Unlock()
	if watch.begun.IsZero() {
		watch.skipped++
		return
	}
	watch.settled++
	seconds := time.Since(watch.begun).Seconds()
	if seconds >= watch.job.Seconds || watch.skipped+watch.settled == watch.job.Messages {
		select {
		case watch.ended <- measure{watch.settled, seconds, cpuSeconds() - watch.cpuBegun}:
		default: // it has ended before
		}
	}
}

func cpuSeconds() float64 {
	var used syscall.Rusage
	must(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func store(ctx context.Context, database *pgx.Conn, body []byte) []byte {
	var stored row
	must(json.Unmarshal(body, &stored.query))
	transaction, err := database.Begin(ctx)
	must(err)
	must(transaction.QueryRow(ctx, insert, stored.ID, stored.SessionID, stored.Text, stored.Metadata).
		Scan(&stored.Status, &stored.CreatedAt, &stored.UpdatedAt, &stored.Version))
	must(transaction.Commit(ctx))
	result, err := json.Marshal(stored)
	must(err)
	return result
}

// serve takes deliveries one by one. Deferred confirms never resolve in the version that Debian 12 has.
func serve(ctx context.Context, watch *stopwatch, deliveries <-chan amqp.Delivery, database *pgx.Conn, results *amqp.Channel) {
	must(results.Confirm(false))
	confirms := results.NotifyPublish(make(chan amqp.Confirmation, 1))
	for delivery := range deliveries {
		watch.start()
		must(results.PublishWithContext(ctx, "", watch.job.Results, false, false, amqp.Publishing{
			DeliveryMode:  amqp.Persistent,
			ContentType:   "application/json",
			CorrelationId: delivery.CorrelationId,
			Body:          store(ctx, database, delivery.Body),
		}))
		if confirm := <-confirms; !confirm.Ack {
			log.Fatal("a result was refused")
		}
		must(delivery.Ack(false))
		watch.settle()
	}
}

func main() {
	line, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	must(err)
	watch := stopwatch{ended: make(chan measure, 1)}
	must(json.Unmarshal(line, &watch.job))
	inbound, err := amqp.Dial(watch.job.RabbitmqURL)
	must(err)
	outbound, err := amqp.Dial(watch.job.RabbitmqURL)
	must(err)
	requests, err := inbound.Channel()
	must(err)
	must(requests.Qos(prefetch, 0, false))
	deliveries, err := requests.Consume(watch.job.Requests, "", false, false, false, false, nil)
	must(err)
	ctx := context.Background()
	for i := 0; i < connections; i++ {
		database, err := pgx.Connect(ctx, watch.job.DatabaseURL)
		must(err)
		results, err := outbound.Channel()
		must(err)
		go serve(ctx, &watch, deliveries, database, results)
	}
	must(json.NewEncoder(os.Stdout).Encode(<-watch.ended))
	// Without a goodbye: what is half served comes again, and nobody stumbles over a channel that closes under it.
	os.Exit(0)
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
