package armory;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.util.Map;

/**
 * Serves the test kit: one request as a line of JSON on standard input, one answer as a line of JSON on standard
 * output, until the input ends.
 *
 * <p>A request names its {@code tool} and the {@code bootstrap} addresses of a cluster; the answer holds either
 * the tool's {@code result} or an {@code error}. One process serves many requests because starting Java takes longer than
 * most of them.
 */
public final class Tools {
    /** What a request names. */
    interface Tool {
        JsonNode run(JsonNode request) throws Exception;
    }

    private static final Map<String, Tool> TOOLS = Map.ofEntries(
            Map.entry("create-topic", Topics::create),
            Map.entry("delete-topic", Topics::delete),
            Map.entry("add-partitions", Topics::addPartitions),
            Map.entry("topic", Topics::describe),
            Map.entry("set-configs", Topics::setConfigs),
            Map.entry("delete-records", Topics::deleteRecords),
            Map.entry("move-leaders", Topics::moveLeaders),
            Map.entry("dataset", Dataset::write),
            Map.entry("produce", Produce::records),
            Map.entry("produce-raw", Produce::raw),
            Map.entry("transaction", Transactions::write),
            Map.entry("end-transaction", Transactions::end),
            Map.entry("dump", Dump::topic),
            Map.entry("compare", Compare::topics));

    private Tools() {}

    public static void main(String[] args) throws Exception {
        PrintStream answers = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        // Whatever a library prints must not be taken for an answer.
        System.setOut(System.err);
        ObjectMapper json = new ObjectMapper();
        BufferedReader requests = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = requests.readLine(); line != null; line = requests.readLine()) {
            ObjectNode answer = JsonNodeFactory.instance.objectNode();
            try {
                JsonNode request = json.readTree(line);
                String name = request.required("tool").asText();
                Tool tool = TOOLS.get(name);
                if (tool == null) {
                    throw new IllegalArgumentException("no tool is called " + name);
                }
                answer.set("result", tool.run(request));
            } catch (Difference difference) {
                answer.put("error", difference.getMessage());
            } catch (Exception failure) {
                StringWriter trace = new StringWriter();
                failure.printStackTrace(new PrintWriter(trace));
                answer.put("error", trace.toString());
            }
            answers.println(json.writeValueAsString(answer));
            answers.flush();
        }
        Transactions.abandon();
        // Threads of clients that a failed tool left behind must not keep the process alive.
        System.exit(0);
    }

    /** What a comparison found; it needs no stack trace. */
    static final class Difference extends Exception {
        private static final long serialVersionUID = 1L;

        Difference(String message) {
            super(message);
        }
    }
}
