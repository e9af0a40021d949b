package armory;

import java.io.File;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

/**
 * Starts one Kafka node: {@code Node CLUSTER_ID SERVER_PROPERTIES [USER=PASSWORD ...]}; the users are for SCRAM.
 *
 * <p>Its log folder is formatted by Kafka's own storage tool if it is new, in the same process because a Java
 * process more would double the time a test waits.
 */
public final class Node {
    private Node() {}

    public static void main(String[] args) throws Exception {
        String clusterId = args[0];
        String properties = args[1];
        Properties loaded = new Properties();
        try (var reader = Files.newBufferedReader(new File(properties).toPath())) {
            loaded.load(reader);
        }
        if (!new File(loaded.getProperty("log.dirs"), "meta.properties").exists()) {
            List<String> format =
                    new ArrayList<>(List.of("format", "--cluster-id", clusterId, "--config", properties));
            for (int user = 2; user < args.length; user++) {
                String[] parts = args[user].split("=", 2);
                for (String mechanism : List.of("SCRAM-SHA-256", "SCRAM-SHA-512")) {
                    format.add("--add-scram");
                    format.add(mechanism + "=[name=" + parts[0] + ",password=" + parts[1] + "]");
                }
            }
            int status = kafka.tools.StorageTool.execute(format.toArray(String[]::new), System.out);
            if (status != 0) {
                System.exit(status);
            }
        }
        kafka.Kafka.main(List.of(properties).toArray(String[]::new));
    }
}
