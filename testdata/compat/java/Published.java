import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.OffsetDateTime;
import java.util.Properties;

/** Reads usage.duckdb by JDBC, as BI tools do: lists the tables, then asks for money and times. */
public class Published {
  public static void main(String[] args) throws SQLException {
    Properties p = new Properties();
    p.setProperty("duckdb.read_only", "true");
    try (Connection c = DriverManager.getConnection("jdbc:duckdb:" + args[0], p)) {
      int listed = 0;
      for (String schema : new String[] {"main", "bi"}) {
        try (ResultSet r = c.getMetaData().getTables("usage", schema, null, null)) {
          while (r.next()) {
            listed++;
          }
        }
      }
      System.out.println("driver " + c.getMetaData().getDriverVersion());
      System.out.println("listed " + listed);
      try (Statement s = c.createStatement(); ResultSet r = s.executeQuery("SELECT sum(amount), max(amount), min(request_time) FROM usage")) {
        r.next();
        System.out.println("sum " + ((BigDecimal) r.getObject(1)).toPlainString());
        System.out.println("max " + ((BigDecimal) r.getObject(2)).toPlainString());
        OffsetDateTime at = (OffsetDateTime) r.getObject(3);
        System.out.println("first " + at.toInstant() + " in " + at.getOffset());
      }
      try (Statement s = c.createStatement()) {
        s.execute("SET TimeZone = 'UTC'");
        try (ResultSet r = s.executeQuery("SELECT min(request_time)::VARCHAR, min(usage_date)::VARCHAR FROM usage")) {
          r.next();
          System.out.println("as text, in UTC " + r.getString(1) + ", " + r.getString(2));
        }
      }
    }
  }
}
