using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace Quality;

/// <summary>
/// Changes the product's code in thousands of small ways, one at a time, and counts the changes that the tests notice (dotnet-stryker, pinned in
/// .config/dotnet-tools.json). A change that makes a test run on counts as noticed.
/// </summary>
internal static class Mutation
{
    // Left alone: the texts of exceptions, whose words no test should repeat, and guards against null, which nullable annotations forbid already.
    private static readonly string[] IgnoredMethods = ["*Exception.ctor", "ThrowIfNull"];

    private static string Folder { get; } = Path.Combine(Checkout.Artifacts, "mutation");

    /// <summary>Mutates one room after the other and then prints what <see cref="Print"/> does; an ended room's report stays if a later one is stopped.</summary>
    /// <returns>0 if every room reaches its floor.</returns>
    public static int Run(IReadOnlyList<Room> rooms)
    {
        if (Checkout.Dotnet(Checkout.Root, "tool", "restore") is not 0 and var restored)
        {
            return restored;
        }

        foreach (var room in rooms)
        {
            var watch = Stopwatch.StartNew();
            var config = Path.Combine(Folder, room.Name, "stryker-config.json");
            if (Directory.Exists(Path.GetDirectoryName(config)))
            {
                Directory.Delete(Path.GetDirectoryName(config)!, recursive: true);
            }

            Directory.CreateDirectory(Path.GetDirectoryName(config)!);
            File.WriteAllText(config, JsonSerializer.Serialize(new Dictionary<string, object> { ["stryker-config"] = Options(room) }));
            var tests = Checkout.TestsOf(room.Project);
            var exit = Checkout.Dotnet(tests, "stryker", "--config-file", Path.GetRelativePath(tests, config), "--output", Path.GetDirectoryName(config)!);
            if (exit != 0 || !File.Exists(ReportOf(room)))
            {
                Console.Error.WriteLine($"{room.Name}: Stryker ended with {exit} and {(File.Exists(ReportOf(room)) ? "a" : "no")} report; its output above says why.");
                return exit == 0 ? 1 : exit;
            }

            Console.WriteLine($"{room.Name}: {watch.Elapsed:h\\:mm\\:ss}");
        }

        return Print(rooms);
    }

    /// <summary>Prints a table of the rooms that have a report and writes what went unnoticed to artifacts/mutation/ROOM.txt.</summary>
    /// <returns>0 if every room has a report and reaches its floor.</returns>
    public static int Print(IReadOnlyList<Room> rooms)
    {
        var reached = true;
        Console.WriteLine($"{"Room",-12}{"Changes",8}{"Noticed",9}{"Passed",8}{"Untested",10}{"Share",9}");
        foreach (var room in rooms)
        {
            if (!File.Exists(ReportOf(room)))
            {
                Console.WriteLine($"{room.Name,-12} no report");
                reached = false;
                continue;
            }

            var mutants = MutationReport.Read(ReportOf(room), Path.Combine(Checkout.Root, "src", room.Project));
            var unnoticed = mutants.Where(static mutant => mutant.IsUnnoticed).OrderBy(static mutant => mutant.File, StringComparer.Ordinal).ThenBy(static mutant => mutant.Line).ToArray();
            var noticed = mutants.Count(static mutant => mutant.IsNoticed);
            var untested = unnoticed.Count(static mutant => mutant.Status == "NoCoverage");
            var all = noticed + unnoticed.Length;
            var share = all == 0 ? 100 : 100.0 * noticed / all;
            var floor = room.Floor is { } least ? $"  (at least {least} %{(share < least ? ", missed" : "")})" : "";
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{room.Name,-12}{all,8}{noticed,9}{unnoticed.Length - untested,8}{untested,10}{share,7:0.0} %{floor}"));
            reached &= !(share < room.Floor);
            File.WriteAllLines(
                Path.Combine(Folder, room.Name + ".txt"),
                unnoticed.Select(static mutant => $"{mutant.File}:{mutant.Line} [{mutant.Kind}{(mutant.Status == "NoCoverage" ? ", no test comes here" : "")}] {mutant.Original} → {mutant.Replacement}"));
        }

        return reached ? 0 : 1;
    }

    private static string ReportOf(Room room) => Path.Combine(Folder, room.Name, "reports", "mutation-report.json");

    private static Dictionary<string, object> Options(Room room) => new()
    {
        ["project"] = room.Project + ".csproj",
        ["configuration"] = "Release",
        ["mutate"] = (string[])[room.Name + "/**/*.cs"],
        ["test-case-filter"] = string.Join('|', room.Tests.Select(static part => "FullyQualifiedName~" + part)),
        ["ignore-methods"] = IgnoredMethods,
        ["coverage-analysis"] = "perTest",
        ["concurrency"] = Environment.ProcessorCount,
        ["additional-timeout"] = 15_000,
        ["reporters"] = (string[])["json", "progress"],
    };
}
