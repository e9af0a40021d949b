package armory;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;

/**
 * Compares two topics as Kafka's own consumer reads them: partition by partition in order, every record's key,
 * value, headers in order, and timestamp. Offsets may differ, and so may the timestamp's type, which is reported.
 *
 * <p>Of the first topic, records outside of a time range and headers of one name can be left out.
 */
final class Compare {
    private final String ignoredHeader;
    private final Long from;
    private final Long until;
    private final Set<String> typesOfFirst = new TreeSet<>();
    private final Set<String> typesOfSecond = new TreeSet<>();
    private long records;
    private long bytes;

    private Compare(JsonNode request) {
        ignoredHeader = request.path("ignore_header").textValue();
        from = optional(request, "from");
        until = optional(request, "until");
    }

    private static Long optional(JsonNode request, String name) {
        return request.path(name).isNumber() ? request.path(name).asLong() : null;
    }

    static JsonNode topics(JsonNode request) throws Exception {
        JsonNode first = request.required("first");
        JsonNode second = request.required("second");
        Compare compare = new Compare(request);
        try (KafkaConsumer<byte[], byte[]> left = Clients.consumer(Clients.bootstrap(first), "read_committed");
                KafkaConsumer<byte[], byte[]> right = Clients.consumer(Clients.bootstrap(second), "read_committed")) {
            List<TopicPartition> lefts = Clients.partitions(left, first.required("topic").asText());
            List<TopicPartition> rights = Clients.partitions(right, second.required("topic").asText());
            if (lefts.size() != rights.size()) {
                throw new Tools.Difference(lefts.size() + " partitions against " + rights.size());
            }
            for (int partition = 0; partition < lefts.size(); partition++) {
                compare.partitions(
                        new Dump.PartitionStream(left, lefts.get(partition)),
                        new Dump.PartitionStream(right, rights.get(partition)));
            }
        }
        return compare.summary();
    }

    private ObjectNode summary() {
        ObjectNode summary = JsonNodeFactory.instance.objectNode();
        summary.put("records", records).put("bytes", bytes);
        typesOfFirst.forEach(summary.putArray("first_timestamp_types")::add);
        typesOfSecond.forEach(summary.putArray("second_timestamp_types")::add);
        return summary;
    }

    private void partitions(Dump.PartitionStream first, Dump.PartitionStream second) throws Tools.Difference {
        while (true) {
            ConsumerRecord<byte[], byte[]> left = first.next();
            while (left != null && isLeftOut(left.timestamp())) {
                left = first.next();
            }
            ConsumerRecord<byte[], byte[]> right = second.next();
            if (left == null && right == null) {
                return;
            }
            String differing = difference(left, right);
            if (differing != null) {
                throw new Tools.Difference("after " + records + " equal records, " + differing + " differs:\n  "
                        + describe(left) + "\n  " + describe(right));
            }
            typesOfFirst.add(left.timestampType().toString());
            typesOfSecond.add(right.timestampType().toString());
            records++;
            bytes += size(left.key()) + size(left.value());
        }
    }

    private boolean isLeftOut(long timestamp) {
        return from != null && timestamp < from || until != null && timestamp >= until;
    }

    private String difference(ConsumerRecord<byte[], byte[]> left, ConsumerRecord<byte[], byte[]> right) {
        if (left == null || right == null) {
            return "the end of the partition";
        }
        if (!Arrays.equals(left.key(), right.key())) {
            return "the key";
        }
        if (!Arrays.equals(left.value(), right.value())) {
            return "the value";
        }
        if (left.timestamp() != right.timestamp()) {
            return "the timestamp";
        }
        return sameHeaders(left, right) ? null : "a header";
    }

    private boolean sameHeaders(ConsumerRecord<byte[], byte[]> left, ConsumerRecord<byte[], byte[]> right) {
        Header[] lefts = left.headers().toArray();
        Header[] rights = right.headers().toArray();
        int matched = 0;
        for (Header header : lefts) {
            if (header.key().equals(ignoredHeader)) {
                continue;
            }
            if (matched == rights.length
                    || !header.key().equals(rights[matched].key())
                    || !Arrays.equals(header.value(), rights[matched].value())) {
                return false;
            }
            matched++;
        }
        return matched == rights.length;
    }

    private static String describe(ConsumerRecord<byte[], byte[]> record) {
        if (record == null) {
            return "no record";
        }
        StringBuilder headers = new StringBuilder();
        for (Header header : record.headers()) {
            headers.append(' ').append(header.key()).append('=').append(describe(header.value()));
        }
        return record.topic() + "-" + record.partition() + "@" + record.offset() + " timestamp " + record.timestamp()
                + " key " + describe(record.key()) + " value " + describe(record.value()) + " headers" + headers;
    }

    private static String describe(byte[] bytes) {
        if (bytes == null) {
            return "null";
        }
        String start = new String(bytes, 0, Math.min(bytes.length, 60), StandardCharsets.ISO_8859_1);
        return "[" + bytes.length + " bytes: " + start.replaceAll("[^ -~]", ".") + "]";
    }

    private static int size(byte[] bytes) {
        return bytes == null ? 0 : bytes.length;
    }
}
