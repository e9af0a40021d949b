package armory;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.HashMap;
import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

/** Transactions that are committed, aborted or left open. */
final class Transactions {
    /** The producers of transactions that are still open, by transactional id. */
    private static final Map<String, KafkaProducer<byte[], byte[]>> OPEN = new HashMap<>();

    private Transactions() {}

    /** Writes {@code records} records, spread over the partitions, in one transaction; their values count from 0. */
    static JsonNode write(JsonNode request) throws Exception {
        String topic = request.required("topic").asText();
        String id = request.required("id").asText();
        int records = request.required("records").asInt();
        // Not closed here: the producer of an open transaction is needed to end it.
        KafkaProducer<byte[], byte[]> producer = Clients.producer(
                Clients.bootstrap(request),
                Map.of("transactional.id", id, "transaction.timeout.ms", request.required("timeout_ms").asInt()));
        producer.initTransactions();
        producer.beginTransaction();
        int partitions = producer.partitionsFor(topic).size();
        for (int index = 0; index < records; index++) {
            byte[] value = (id + "-" + index).getBytes(StandardCharsets.UTF_8);
            producer.send(new ProducerRecord<>(topic, index % partitions, null, value));
        }
        producer.flush();
        OPEN.put(id, producer);
        return finish(id, request.required("end").asText());
    }

    /** Ends a transaction that was left open. */
    static JsonNode end(JsonNode request) {
        return finish(request.required("id").asText(), request.required("end").asText());
    }

    private static JsonNode finish(String id, String how) {
        KafkaProducer<byte[], byte[]> producer = OPEN.get(id);
        if (producer == null) {
            throw new IllegalArgumentException("no transaction " + id + " is open");
        }
        switch (how) {
            case "commit" -> producer.commitTransaction();
            case "abort" -> producer.abortTransaction();
            case "leave-open" -> {
                return JsonNodeFactory.instance.nullNode();
            }
            default -> throw new IllegalArgumentException("a transaction cannot end in " + how);
        }
        OPEN.remove(id).close();
        return JsonNodeFactory.instance.nullNode();
    }

    /** Leaves open what is open, as a producer does that crashed. */
    static void abandon() {
        OPEN.values().forEach(producer -> producer.close(Duration.ZERO));
    }
}
