import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import org.apache.iceberg.Files;
import org.apache.iceberg.io.FileIO;
import org.apache.iceberg.io.InputFile;
import org.apache.iceberg.io.OutputFile;
import org.apache.iceberg.jdbc.JdbcCatalog;
import org.apache.iceberg.rest.RESTCatalogAdapter;
import org.apache.iceberg.rest.RESTCatalogServlet;
import org.eclipse.jetty.ee10.servlet.ServletContextHandler;
import org.eclipse.jetty.ee10.servlet.ServletHolder;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;

/**
 * A REST catalog on loopback, which ends with its standard input: Apache Iceberg's own, as far as the protocol goes, and
 * in what becomes of a commit. Arguments are properties, NAME=VALUE: warehouse, and what S3FileIO takes; without
 * io-impl its tables are in directories. It prints its port.
 */
public class Catalog {
  public static void main(String[] args) throws Exception {
    Map<String, String> properties = new HashMap<>();
    properties.put("io-impl", Directories.class.getName());
    properties.put("uri", "jdbc:sqlite::memory:");
    properties.put("clients", "1"); // each connection has a memory of its own
    properties.put("jdbc.schema-version", "V1");
    properties.put("jdbc.strict-mode", "true"); // no table without its namespace
    for (String arg : args) {
      int at = arg.indexOf('=');
      properties.put(arg.substring(0, at), arg.substring(at + 1));
    }
    JdbcCatalog catalog = new JdbcCatalog();
    catalog.initialize("test", properties);

    ServletContextHandler context = new ServletContextHandler();
    context.addServlet(new ServletHolder(new RESTCatalogServlet(new RESTCatalogAdapter(catalog))), "/*");
    Server server = new Server();
    ServerConnector connector = new ServerConnector(server);
    connector.setHost("127.0.0.1");
    server.addConnector(connector);
    server.setHandler(context);
    server.start();
    System.out.println(connector.getLocalPort());
    while (System.in.read() >= 0) {}
    System.exit(0);
  }

  /** Files by their paths, for Iceberg's own way to them takes all of Hadoop. */
  public static class Directories implements FileIO {
    private static Path path(String location) {
      return Path.of(location.replaceFirst("^file:(//)?", ""));
    }

    public InputFile newInputFile(String location) {
      return Files.localInput(path(location).toFile());
    }

    public OutputFile newOutputFile(String location) {
      return Files.localOutput(path(location).toFile());
    }

    public void deleteFile(String location) {
      path(location).toFile().delete();
    }
  }
}
