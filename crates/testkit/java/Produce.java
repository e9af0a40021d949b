package armory;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.DataInputStream;
import java.io.IOException;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.header.Headers;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.message.ProduceRequestData;
import org.apache.kafka.common.message.ProduceResponseData;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.record.internal.MemoryRecords;
import org.apache.kafka.common.requests.AbstractResponse;
import org.apache.kafka.common.requests.ProduceRequest;
import org.apache.kafka.common.requests.ProduceResponse;
import org.apache.kafka.common.requests.RequestHeader;

/** Writes the very records, or the very batches, that a test names. */
final class Produce {
    /** The newest version that names topics; later ones need the topic's id. */
    private static final short VERSION = 12;

    private Produce() {}

    /** Sends the records one by one and answers with their offsets. */
    static JsonNode records(JsonNode request) throws Exception {
        String topic = request.required("topic").asText();
        Map<String, Object> config = Map.of("compression.type", request.required("codec").asText());
        ArrayNode offsets = JsonNodeFactory.instance.arrayNode();
        try (KafkaProducer<byte[], byte[]> producer = Clients.producer(Clients.bootstrap(request), config)) {
            List<Future<RecordMetadata>> sent = new ArrayList<>();
            for (JsonNode record : request.required("records")) {
                sent.add(producer.send(new Clients.AnyTimestamp(
                        topic,
                        record.required("partition").asInt(),
                        record.required("timestamp").asLong(),
                        Clients.bytes(record.get("key")),
                        Clients.bytes(record.get("value")),
                        headers(record.required("headers")))));
            }
            producer.flush();
            for (Future<RecordMetadata> future : sent) {
                offsets.add(future.get().offset());
            }
        }
        return offsets;
    }

    static Headers headers(JsonNode pairs) {
        RecordHeaders headers = new RecordHeaders();
        for (JsonNode pair : pairs) {
            headers.add(new RecordHeader(pair.get(0).asText(), Clients.bytes(pair.get(1))));
        }
        return headers;
    }

    /** Sends bytes as the records of one Produce request, whatever they are, and answers as the broker did. */
    static JsonNode raw(JsonNode request) throws Exception {
        String topic = request.required("topic").asText();
        int partition = request.required("partition").asInt();
        ProduceRequestData.PartitionProduceData data = new ProduceRequestData.PartitionProduceData()
                .setIndex(partition)
                .setRecords(MemoryRecords.readableRecords(ByteBuffer.wrap(Clients.bytes(request.get("records")))));
        ProduceRequestData.TopicProduceData topicData =
                new ProduceRequestData.TopicProduceData().setName(topic).setPartitionData(List.of(data));
        ProduceRequestData.TopicProduceDataCollection topics = new ProduceRequestData.TopicProduceDataCollection();
        topics.add(topicData);
        ProduceRequest produce = new ProduceRequest(
                new ProduceRequestData().setAcks((short) -1).setTimeoutMs(30_000).setTopicData(topics), VERSION);

        ProduceResponse response = (ProduceResponse) exchange(leader(request, topic, partition), produce);
        ProduceResponseData.PartitionProduceResponse answer =
                response.data().responses().iterator().next().partitionResponses().get(0);
        ObjectNode result = JsonNodeFactory.instance.objectNode();
        return result.put("error_code", answer.errorCode()).put("base_offset", answer.baseOffset());
    }

    private static Node leader(JsonNode request, String topic, int partition) throws Exception {
        try (Admin admin = Clients.admin(request)) {
            return Topics.describe(admin, topic).partitions().get(partition).leader();
        }
    }

    private static AbstractResponse exchange(Node broker, ProduceRequest request) throws IOException {
        RequestHeader header = new RequestHeader(ApiKeys.PRODUCE, VERSION, "armory-testkit", 1);
        ByteBuffer body = request.serializeWithHeader(header);
        try (Socket socket = new Socket(broker.host(), broker.port())) {
            ByteBuffer frame = ByteBuffer.allocate(4 + body.remaining());
            frame.putInt(body.remaining()).put(body).flip();
            Channels.newChannel(socket.getOutputStream()).write(frame);
            DataInputStream input = new DataInputStream(socket.getInputStream());
            byte[] answer = new byte[input.readInt()];
            input.readFully(answer);
            return AbstractResponse.parseResponse(ByteBuffer.wrap(answer), header);
        }
    }
}
