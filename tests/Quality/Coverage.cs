using System.Globalization;
using System.Xml.Linq;

namespace Quality;

/// <summary>
/// Runs the tests of the three projects and prints, room by room, how many lines and branches they came by (coverlet), what they never saw, and the
/// ten slowest tests. Code that runs only in a child process, such as a notebook's run, is not seen there.
/// </summary>
internal static class Coverage
{
    /// <summary>Runs and prints; what is untested is written to artifacts/coverage/untested.txt.</summary>
    /// <returns>0 if all tests passed.</returns>
    public static int Run()
    {
        var output = Path.Combine(Checkout.Artifacts, "coverage");
        if (Directory.Exists(output))
        {
            Directory.Delete(output, recursive: true);
        }

        var exit = 0;
        foreach (var project in Room.All.Select(static room => room.Project).Distinct())
        {
            var ended = Checkout.Dotnet(
                Checkout.TestsOf(project), "test", "--configuration", "Release", "--collect", "XPlat Code Coverage", "--logger", "trx",
                "--results-directory", Path.Combine(output, project), "--",
                "DataCollectionRunSettings.DataCollectors.DataCollector.Configuration.Include=[LoraNotebooks*]*,[lora-notebooks]*");
            exit = ended != 0 ? ended : exit;
        }

        var lines = Directory.GetFiles(output, "coverage.cobertura.xml", SearchOption.AllDirectories).SelectMany(Lines)
            .GroupBy(static line => (line.File, line.Number))
            .Select(static group => group.MaxBy(static line => (line.IsCovered, line.BranchesCovered)))
            .ToArray();
        PrintRooms(lines);
        File.WriteAllLines(Path.Combine(output, "untested.txt"), Untested(lines));
        PrintSlowest(output);
        return exit;
    }

    private readonly record struct Line(string File, int Number, bool IsCovered, int BranchesCovered, int Branches);

    private static IEnumerable<Line> Lines(string report)
    {
        var document = XDocument.Load(report);
        var source = document.Descendants("source").FirstOrDefault()?.Value ?? "";
        foreach (var type in document.Descendants("class"))
        {
            var file = Path.GetRelativePath(Path.Combine(Checkout.Root, "src"), Path.Combine(source, (string)type.Attribute("filename")!)).Replace('\\', '/');
            foreach (var line in type.Elements("lines").Elements("line"))
            {
                // "50% (1/2)"
                var branches = ((string?)line.Attribute("condition-coverage"))?.Split('(', ')')[1]
                    .Split('/')
                    .Select(static n => int.Parse(n, CultureInfo.InvariantCulture))
                    .ToArray() ?? [0, 0];
                yield return new(file, (int)line.Attribute("number")!, (long)line.Attribute("hits")! > 0, branches[0], branches[1]);
            }
        }
    }

    private static void PrintRooms(IReadOnlyCollection<Line> lines)
    {
        Console.WriteLine($"{"Room",-36}{"Lines",8}{"covered",9}{"Branches",10}{"covered",9}");
        foreach (var room in lines.GroupBy(static line => string.Join('/', line.File.Split('/').SkipLast(1).Take(2)))
            .OrderBy(static room => room.Key, StringComparer.Ordinal)
            .Append(lines.GroupBy(static _ => "All").First()))
        {
            var branches = room.Sum(static line => line.Branches);
            Console.WriteLine(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{room.Key,-36}{room.Count(),8}{100.0 * room.Count(static line => line.IsCovered) / room.Count(),7:0.0} %{branches,10}")
                + string.Create(
                    CultureInfo.InvariantCulture,
                    $"{(branches == 0 ? 100 : 100.0 * room.Sum(static line => line.BranchesCovered) / branches),7:0.0} %"));
        }
    }

    private static IEnumerable<string> Untested(IEnumerable<Line> lines) =>
        lines.Where(static line => !line.IsCovered).GroupBy(static line => line.File).OrderBy(static file => file.Key, StringComparer.Ordinal)
            .Select(static file => $"{file.Key}: {string.Join(", ", Ranges([.. file.Select(static line => line.Number).Order()]))}");

    private static IEnumerable<string> Ranges(IReadOnlyList<int> numbers)
    {
        for (int first = 0, next; first < numbers.Count; first = next)
        {
            for (next = first + 1; next < numbers.Count && numbers[next] == numbers[next - 1] + 1; next++)
            {
            }

            yield return next == first + 1 ? $"{numbers[first]}" : $"{numbers[first]}-{numbers[next - 1]}";
        }
    }

    private static void PrintSlowest(string folder)
    {
        XNamespace trx = "http://microsoft.com/schemas/VisualStudio/TeamTest/2010";
        var tests = Directory.GetFiles(folder, "*.trx", SearchOption.AllDirectories)
            .SelectMany(file => XDocument.Load(file).Descendants(trx + "UnitTestResult"))
            .Select(static result => (
                Name: (string)result.Attribute("testName")!,
                Time: TimeSpan.Parse((string?)result.Attribute("duration") ?? "0:0:0", CultureInfo.InvariantCulture)))
            .OrderByDescending(static test => test.Time).ToArray();
        Console.WriteLine($"The ten slowest of {tests.Length} tests:");
        foreach (var (name, time) in tests.Take(10))
        {
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{time.TotalSeconds,8:0.0} s  {name}"));
        }
    }
}
