using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace Quality;

/// <summary>Changes the product's code in thousands of small ways, one at a time, and counts the changes that the tests notice.</summary>
internal static class Mutation
{
    private static string Folder { get; } = Path.Combine(Checkout.Artifacts, "mutation");

    /// <summary>Mutates one room after the other and then prints what <see cref="Print"/> does; an ended room's results stay if a later one is stopped.</summary>
    /// <returns>0 if every room reaches its floor.</returns>
    public static int Run(IReadOnlyList<Room> rooms)
    {
        foreach (var project in rooms.GroupBy(static room => room.Project))
        {
            var mutants = Mutants.Make(project.Key);
            foreach (var room in project)
            {
                var watch = Stopwatch.StartNew();
                File.Delete(ResultsOf(room));
                var results = MutationTrial.Run(room, [.. mutants.Where(mutant => mutant.Status == "Pending" && mutant.File.StartsWith(room.Name + "/", StringComparison.Ordinal))]);
                File.WriteAllText(ResultsOf(room), JsonSerializer.Serialize(results));
                Console.WriteLine($"{room.Name}: {watch.Elapsed:h\\:mm\\:ss}");
            }
        }

        return Print(rooms);
    }

    /// <summary>Prints a table of the rooms that have results and writes what went unnoticed to artifacts/mutation/ROOM.txt.</summary>
    /// <returns>0 if every room has results and reaches its floor.</returns>
    public static int Print(IReadOnlyList<Room> rooms)
    {
        var reached = true;
        Console.WriteLine($"{"Room",-12}{"Changes",8}{"Noticed",9}{"Passed",8}{"Untested",10}{"Share",9}");
        foreach (var room in rooms)
        {
            if (!File.Exists(ResultsOf(room)))
            {
                Console.WriteLine($"{room.Name,-12} no results");
                reached = false;
                continue;
            }

            var mutants = JsonSerializer.Deserialize<Mutant[]>(File.ReadAllBytes(ResultsOf(room)))!;
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

    private static string ResultsOf(Room room) => Path.Combine(Folder, room.Name + ".json");
}
