package armory;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.ListOffsetsOptions;
import org.apache.kafka.clients.admin.NewPartitionReassignment;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.admin.TopicDescription;
import org.apache.kafka.common.ElectionType;
import org.apache.kafka.common.IsolationLevel;
import org.apache.kafka.common.Node;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.TopicPartitionInfo;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.errors.ElectionNotNeededException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** What is done to topics, and what they look like. */
final class Topics {
    private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

    private Topics() {}

    static JsonNode create(JsonNode request) throws Exception {
        String topic = request.required("topic").asText();
        int partitions = request.required("partitions").asInt();
        Map<String, String> configs = new HashMap<>();
        request.required("configs").properties().forEach(entry -> configs.put(entry.getKey(), entry.getValue().asText()));
        try (Admin admin = Clients.admin(request)) {
            NewTopic created = new NewTopic(topic, Optional.of(partitions), Optional.empty()).configs(configs);
            admin.createTopics(List.of(created)).all().get();
            return JSON.textNode(ready(admin, topic, partitions).topicId().toString());
        }
    }

    static JsonNode delete(JsonNode request) throws Exception {
        String topic = request.required("topic").asText();
        try (Admin admin = Clients.admin(request)) {
            admin.deleteTopics(List.of(topic)).all().get();
            waitFor("the end of " + topic, () -> !admin.listTopics().names().get().contains(topic));
        }
        return JSON.nullNode();
    }

    static JsonNode addPartitions(JsonNode request) throws Exception {
        String topic = request.required("topic").asText();
        int total = request.required("total").asInt();
        try (Admin admin = Clients.admin(request)) {
            admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(total))).all().get();
            ready(admin, topic, total);
        }
        return JSON.nullNode();
    }

    /** The topic's id, what is configured for it alone, and where its partitions begin and end. */
    static JsonNode describe(JsonNode request) throws Exception {
        String topic = request.required("topic").asText();
        try (Admin admin = Clients.admin(request)) {
            TopicDescription description = describe(admin, topic);
            ObjectNode result = JSON.objectNode();
            result.put("id", description.topicId().toString());
            ObjectNode configs = result.putObject("configs");
            ConfigResource resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
            for (ConfigEntry entry : admin.describeConfigs(List.of(resource)).all().get().get(resource).entries()) {
                if (entry.source() == ConfigEntry.ConfigSource.DYNAMIC_TOPIC_CONFIG) {
                    configs.put(entry.name(), entry.value());
                }
            }
            ArrayNode partitions = result.putArray("partitions");
            for (TopicPartitionInfo info : description.partitions()) {
                TopicPartition partition = new TopicPartition(topic, info.partition());
                ObjectNode row = partitions.addObject();
                row.put("leader", info.leader() == null ? -1 : info.leader().id());
                row.put("start", offset(admin, partition, OffsetSpec.earliest(), IsolationLevel.READ_UNCOMMITTED));
                row.put("end", offset(admin, partition, OffsetSpec.latest(), IsolationLevel.READ_UNCOMMITTED));
                row.put("stable", offset(admin, partition, OffsetSpec.latest(), IsolationLevel.READ_COMMITTED));
            }
            return result;
        }
    }

    static JsonNode setConfigs(JsonNode request) throws Exception {
        ConfigResource topic = new ConfigResource(ConfigResource.Type.TOPIC, request.required("topic").asText());
        List<AlterConfigOp> changes = new ArrayList<>();
        request.required("configs").properties().forEach(config -> {
            boolean removed = config.getValue().isNull();
            String value = removed ? "" : config.getValue().asText();
            AlterConfigOp.OpType what = removed ? AlterConfigOp.OpType.DELETE : AlterConfigOp.OpType.SET;
            changes.add(new AlterConfigOp(new ConfigEntry(config.getKey(), value), what));
        });
        try (Admin admin = Clients.admin(request)) {
            admin.incrementalAlterConfigs(Map.of(topic, changes)).all().get();
        }
        return JSON.nullNode();
    }

    /** Deletes what lies before an offset, as retention does. */
    static JsonNode deleteRecords(JsonNode request) throws Exception {
        TopicPartition partition =
                new TopicPartition(request.required("topic").asText(), request.required("partition").asInt());
        RecordsToDelete before = RecordsToDelete.beforeOffset(request.required("before").asLong());
        try (Admin admin = Clients.admin(request)) {
            admin.deleteRecords(Map.of(partition, before)).all().get();
        }
        return JSON.nullNode();
    }

    /** Gives every partition another of its replicas as the leader. */
    static JsonNode moveLeaders(JsonNode request) throws Exception {
        String topic = request.required("topic").asText();
        try (Admin admin = Clients.admin(request)) {
            Map<TopicPartition, Optional<NewPartitionReassignment>> orders = new HashMap<>();
            for (TopicPartitionInfo info : describe(admin, topic).partitions()) {
                List<Integer> replicas = new ArrayList<>(info.replicas().stream().map(Node::id).toList());
                replicas.remove(Integer.valueOf(info.leader().id()));
                replicas.add(info.leader().id());
                orders.put(
                        new TopicPartition(topic, info.partition()),
                        Optional.of(new NewPartitionReassignment(replicas)));
            }
            admin.alterPartitionReassignments(orders).all().get();
            waitFor("the new order of replicas", () -> admin.listPartitionReassignments().reassignments().get().isEmpty());
            for (var elected : admin.electLeaders(ElectionType.PREFERRED, orders.keySet()).partitions().get().values()) {
                if (elected.isPresent() && !(elected.get() instanceof ElectionNotNeededException)) {
                    throw new IllegalStateException("no new leader", elected.get());
                }
            }
        }
        return JSON.nullNode();
    }

    static TopicDescription describe(Admin admin, String topic) throws Exception {
        return admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
    }

    private static long offset(Admin admin, TopicPartition partition, OffsetSpec spec, IsolationLevel isolation)
            throws Exception {
        ListOffsetsOptions options = new ListOffsetsOptions(isolation);
        return admin.listOffsets(Map.of(partition, spec), options).partitionResult(partition).get().offset();
    }

    /** Waits until every partition has a leader that clients are told of. */
    private static TopicDescription ready(Admin admin, String topic, int partitions) throws Exception {
        TopicDescription[] found = new TopicDescription[1];
        waitFor("leaders of " + topic, () -> {
            try {
                found[0] = describe(admin, topic);
            } catch (ExecutionException failed) {
                if (failed.getCause() instanceof UnknownTopicOrPartitionException) {
                    return false;
                }
                throw failed;
            }
            return found[0].partitions().size() == partitions
                    && found[0].partitions().stream().allMatch(info -> info.leader() != null);
        });
        return found[0];
    }

    private interface Condition {
        boolean holds() throws Exception;
    }

    private static void waitFor(String what, Condition condition) throws Exception {
        long deadline = System.nanoTime() + 60_000_000_000L;
        while (!condition.holds()) {
            if (System.nanoTime() > deadline) {
                throw new IllegalStateException("waited in vain for " + what);
            }
            Thread.sleep(20);
        }
    }
}
