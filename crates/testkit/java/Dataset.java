package armory;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SplittableRandom;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.header.internals.RecordHeaders;

/**
 * Writes records of every shape that Kafka allows into a topic, the same ones for the same seed.
 *
 * <p>Keys, values and header values are null, empty, tiny, ordinary and large; headers are none to fifty, with
 * duplicates and empty names; timestamps are ordinary, equal, going backwards, zero and absent. Codecs and batch sizes take
 * turns, and every second producer is idempotent, so that batches with and without a producer id lie side by side.
 */
final class Dataset {
    private static final int RUN = 400;
    private static final long DAY = 86_400_000L;
    /** 2020-01-01; data that is worth a backup is mostly not new. */
    private static final long BEGIN = 1_577_836_800_000L;
    private static final byte[] TEXT =
            "{\"order\":12345,\"customer\":\"ada@example.org\",\"items\":[{\"sku\":\"A-100\",\"count\":2,\"price\":9.95}]}"
                    .getBytes(StandardCharsets.UTF_8);

    private final SplittableRandom random;
    private final String topic;
    private final boolean extremes;
    private long clock = BEGIN;

    private Dataset(JsonNode request) {
        random = new SplittableRandom(request.required("seed").asLong());
        topic = request.required("topic").asText();
        extremes = request.required("extremes").asBoolean();
    }

    static JsonNode write(JsonNode request) throws Exception {
        long bytes = request.required("bytes").asLong();
        List<KafkaProducer<byte[], byte[]>> producers = new ArrayList<>();
        try {
            int[] batchSizes = {16 << 10, 128 << 10, 1 << 10, 512 << 10};
            for (JsonNode codec : request.required("codecs")) {
                int turn = producers.size();
                producers.add(Clients.producer(Clients.bootstrap(request), Map.of(
                        "compression.type", codec.asText(),
                        "batch.size", batchSizes[turn % batchSizes.length],
                        "linger.ms", 20,
                        // Kafka's idempotent producer now and then begins its sequence anew here and is then refused for ever.
                        "enable.idempotence", false,
                        "max.in.flight.requests.per.connection", 1)));
            }
            return new Dataset(request).write(producers, bytes);
        } finally {
            producers.forEach(KafkaProducer::close);
        }
    }

    private JsonNode write(List<KafkaProducer<byte[], byte[]>> producers, long limit) throws Exception {
        int partitions = producers.get(0).partitionsFor(topic).size();
        long records = 0;
        long bytes = 0;
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        for (int run = 0; bytes < limit; run++) {
            KafkaProducer<byte[], byte[]> producer = producers.get(run % producers.size());
            for (int index = 0; index < RUN && bytes < limit; index++) {
                Clients.AnyTimestamp record = record(partitions);
                bytes += size(record.key()) + size(record.value());
                records++;
                sent.add(producer.send(record));
            }
            // One producer after another: the order in a partition must be the same every time.
            producer.flush();
            for (Future<RecordMetadata> future : sent) {
                future.get();
            }
            sent.clear();
        }
        ObjectNode summary = JsonNodeFactory.instance.objectNode();
        return summary.put("records", records).put("bytes", bytes);
    }

    private Clients.AnyTimestamp record(int partitions) {
        byte[] value = value();
        Headers headers = headers(size(value) > 100_000);
        return new Clients.AnyTimestamp(topic, random.nextInt(partitions), timestamp(), key(), value, headers);
    }

    private long timestamp() {
        int draw = random.nextInt(1000);
        if (draw < 5) {
            return 0;
        }
        if (draw < 10) {
            return -1;
        }
        if (extremes && draw < 15) {
            return Long.MAX_VALUE - random.nextInt(2);
        }
        if (draw < 30) {
            return clock - random.nextLong(DAY);
        }
        clock += random.nextInt(3) == 0 ? 0 : random.nextLong(60_000);
        return clock;
    }

    private byte[] key() {
        int draw = random.nextInt(100);
        if (draw < 10) {
            return null;
        }
        if (draw < 15) {
            return new byte[0];
        }
        if (draw < 60) {
            return ("customer-" + random.nextInt(1000)).getBytes(StandardCharsets.UTF_8);
        }
        return noise(1 + random.nextInt(40));
    }

    private byte[] value() {
        int draw = random.nextInt(10_000);
        if (draw < 500) {
            return null;
        }
        if (draw < 1000) {
            return new byte[0];
        }
        if (draw < 1015) {
            return fill(900_000 + random.nextInt(100_001));
        }
        if (draw < 3000) {
            return fill(1 + random.nextInt(16));
        }
        if (draw < 9000) {
            return fill(100 + random.nextInt(1900));
        }
        return fill(2000 + random.nextInt(18_000));
    }

    /** Mostly text that compresses, sometimes bytes that do not. */
    private byte[] fill(int length) {
        if (random.nextInt(10) < 3) {
            return noise(length);
        }
        byte[] filled = new byte[length];
        int shift = random.nextInt(TEXT.length);
        for (int index = 0; index < length; index++) {
            filled[index] = TEXT[(index + shift) % TEXT.length];
        }
        for (int change = 0; change < length / 50; change++) {
            filled[random.nextInt(length)] = (byte) ('0' + random.nextInt(10));
        }
        return filled;
    }

    private byte[] noise(int length) {
        byte[] bytes = new byte[length];
        random.nextBytes(bytes);
        return bytes;
    }

    private Headers headers(boolean few) {
        int draw = random.nextInt(100);
        int count = draw < 40 ? 0 : draw < 80 ? 1 + random.nextInt(5) : draw < 97 ? 6 + random.nextInt(7) : 50;
        RecordHeaders headers = new RecordHeaders();
        for (int index = 0; index < (few ? Math.min(count, 5) : count); index++) {
            headers.add(new RecordHeader(headerName(), headerValue()));
        }
        return headers;
    }

    /** From few names, so that duplicates are common. */
    private String headerName() {
        String[] names = {"trace-id", "content-type", "", "größe", "h" + random.nextInt(30)};
        return names[random.nextInt(names.length)];
    }

    private byte[] headerValue() {
        int draw = random.nextInt(10);
        return draw == 0 ? null : draw == 1 ? new byte[0] : noise(1 + random.nextInt(60));
    }

    private static int size(byte[] bytes) {
        return bytes == null ? 0 : bytes.length;
    }
}
