package armory;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.time.Duration;
import java.util.List;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;

/** All records of a small topic, partition after partition. */
final class Dump {
    private Dump() {}

    static JsonNode topic(JsonNode request) {
        String topic = request.required("topic").asText();
        String isolation = request.required("isolation").asText();
        ArrayNode records = JsonNodeFactory.instance.arrayNode();
        try (KafkaConsumer<byte[], byte[]> consumer = Clients.consumer(Clients.bootstrap(request), isolation)) {
            for (TopicPartition partition : Clients.partitions(consumer, topic)) {
                PartitionStream stream = new PartitionStream(consumer, partition);
                for (ConsumerRecord<byte[], byte[]> record = stream.next(); record != null; record = stream.next()) {
                    records.add(json(record));
                }
            }
        }
        return records;
    }

    private static ObjectNode json(ConsumerRecord<byte[], byte[]> record) {
        ObjectNode row = JsonNodeFactory.instance.objectNode();
        row.put("partition", record.partition());
        row.put("offset", record.offset());
        row.put("timestamp", record.timestamp());
        row.put("timestamp_type", record.timestampType().toString());
        row.put("leader_epoch", record.leaderEpoch().orElse(-1));
        row.put("key", record.key());
        row.put("value", record.value());
        ArrayNode headers = row.putArray("headers");
        for (Header header : record.headers()) {
            headers.addArray().add(header.key()).add(header.value());
        }
        return row;
    }

    /** The records of one partition from its beginning to where it ended when the stream was made. */
    static final class PartitionStream {
        private final KafkaConsumer<byte[], byte[]> consumer;
        private final TopicPartition partition;
        private final long end;
        private List<ConsumerRecord<byte[], byte[]>> fetched = List.of();
        private int taken;

        PartitionStream(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition) {
            this.consumer = consumer;
            this.partition = partition;
            consumer.assign(List.of(partition));
            // seekToBeginning would have the next position() wait for a retry's pause.
            consumer.seek(partition, consumer.beginningOffsets(List.of(partition)).get(partition));
            // With read_committed this is the last stable offset.
            end = consumer.endOffsets(List.of(partition)).get(partition);
        }

        /** The next record, or null at the end. */
        ConsumerRecord<byte[], byte[]> next() {
            while (taken == fetched.size()) {
                if (consumer.position(partition) >= end) {
                    return null;
                }
                fetched = consumer.poll(Duration.ofSeconds(1)).records(partition);
                taken = 0;
            }
            ConsumerRecord<byte[], byte[]> record = fetched.get(taken++);
            return record.offset() < end ? record : null;
        }
    }
}
