package armory;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** Kafka's clients, set up as tests need them; and binary fields of requests. */
final class Clients {
    private Clients() {}

    static Admin admin(JsonNode request) {
        return Admin.create(Map.of("bootstrap.servers", bootstrap(request)));
    }

    static String bootstrap(JsonNode request) {
        return request.required("bootstrap").asText();
    }

    static KafkaProducer<byte[], byte[]> producer(String bootstrap, Map<String, Object> extra) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("acks", "all");
        config.put("buffer.memory", 64L << 20);
        config.putAll(extra);
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static KafkaConsumer<byte[], byte[]> consumer(String bootstrap, String isolation) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("isolation.level", isolation);
        config.put("enable.auto.commit", false);
        config.put("auto.offset.reset", "earliest");
        config.put("max.poll.records", 20_000);
        config.put("max.partition.fetch.bytes", 8 << 20);
        config.put("receive.buffer.bytes", 4 << 20);
        // At a partition's end the fetch for more would hold up whatever is asked next of the same broker.
        config.put("fetch.max.wait.ms", 10);
        return new KafkaConsumer<>(config, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    static List<TopicPartition> partitions(KafkaConsumer<byte[], byte[]> consumer, String topic) {
        int count = consumer.partitionsFor(topic).size();
        return IntStream.range(0, count).mapToObj(index -> new TopicPartition(topic, index)).toList();
    }

    /** A field that holds bytes in base64, or null. */
    static byte[] bytes(JsonNode field) {
        try {
            return field == null || field.isNull() ? null : field.binaryValue();
        } catch (IOException notBase64) {
            throw new IllegalArgumentException("not base64: " + field, notBase64);
        }
    }

    /**
     * A record whose timestamp the constructor would refuse: -1 is what clients without timestamps wrote, and such
     * records are in the topics of the world.
     */
    static final class AnyTimestamp extends ProducerRecord<byte[], byte[]> {
        private final long timestamp;

        AnyTimestamp(String topic, int partition, long timestamp, byte[] key, byte[] value, Headers headers) {
            super(topic, partition, null, key, value, headers);
            this.timestamp = timestamp;
        }

        @Override
        public Long timestamp() {
            return timestamp;
        }
    }
}
