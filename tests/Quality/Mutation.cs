using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace Quality;

/// <summary>Changes the product's code in thousands of small ways, one at a time, and counts the changes that the tests notice.</summary>
internal static class Mutation
{
    /// <summary>Changes that no test needs to notice, each under the reason.</summary>
    private const string Reasons = "Unnoticed.txt";

    private static string Folder { get; } = Path.Combine(Checkout.Artifacts, "mutation");

    /// <summary>
    /// Mutates one room after the other and then prints what <see cref="Print"/> does; an ended room's results stay if a later one is stopped.
    /// </summary>
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
                var results = MutationTrial.Run(
                    room,
                    [.. mutants.Where(mutant => mutant.Status == "Pending" && mutant.File.StartsWith(room.Name + "/", StringComparison.Ordinal))]);
                File.WriteAllText(ResultsOf(room), JsonSerializer.Serialize(results));
                Console.WriteLine($"{room.Name}: {watch.Elapsed:h\\:mm\\:ss}");
            }
        }

        return Print(rooms);
    }

    /// <summary>
    /// Prints a table of the rooms that have results and writes what went unnoticed, and is not reasoned in <see cref="Reasons"/>, to
    /// artifacts/mutation/ROOM.txt.
    /// </summary>
    /// <returns>0 if every room has results and reaches its floor.</returns>
    public static int Print(IReadOnlyList<Room> rooms)
    {
        var reached = true;
        var reasoned = ReadReasoned();
        Console.WriteLine($"{"Room",-12}{"Changes",8}{"Noticed",9}{"Share",9}{"Unnoticed",11}{"untested",10}{"reasoned",10}");
        foreach (var room in rooms)
        {
            if (!File.Exists(ResultsOf(room)))
            {
                Console.WriteLine($"{room.Name,-12} no results");
                reached = false;
                continue;
            }

            var mutants = JsonSerializer.Deserialize<Mutant[]>(File.ReadAllBytes(ResultsOf(room)))!;
            var unnoticed = mutants.Where(static mutant => mutant.IsUnnoticed)
                .OrderBy(static mutant => mutant.File, StringComparer.Ordinal)
                .ThenBy(static mutant => mutant.Line)
                .ToArray();
            var noticed = mutants.Count(static mutant => mutant.IsNoticed);
            var untested = unnoticed.Count(static mutant => mutant.Status == "NoCoverage");
            var open = unnoticed.Where(mutant => !reasoned.Contains(Text(mutant))).ToArray();
            var all = noticed + unnoticed.Length;
            var share = all == 0 ? 100 : 100.0 * noticed / all;
            var floor = room.Floor is { } least ? $"  (at least {least} %{(share < least ? ", missed" : "")})" : "";
            Console.WriteLine(string.Create(
                CultureInfo.InvariantCulture,
                $"{room.Name,-12}{all,8}{noticed,9}{share,7:0.0} %{unnoticed.Length,11}{untested,10}{unnoticed.Length - open.Length,10}{floor}"));
            reached &= !(share < room.Floor);
            File.WriteAllLines(
                Path.Combine(Folder, room.Name + ".txt"),
                open.Select(static mutant => $"{(mutant.Status == "NoCoverage" ? "untested " : "")}line {mutant.Line}: {Text(mutant)}"));
            foreach (var stale in reasoned.Where(line => line.StartsWith(room.Name + "/", StringComparison.Ordinal)).Except(unnoticed.Select(Text)))
            {
                Console.WriteLine($"{room.Name}: {Reasons} names a change that was noticed or is gone: {stale}");
            }
        }

        return reached ? 0 : 1;
    }

    // One line says what was changed where, so that it is found again after lines have moved.
    private static string Text(Mutant mutant) => $"{mutant.File} [{mutant.Kind}] {mutant.Original} → {mutant.Replacement}";

    private static HashSet<string> ReadReasoned() =>
        [.. File.ReadLines(Path.Combine(Checkout.Root, "tests", "Quality", Reasons)).Where(static line => line.Length > 0 && line[0] != '#')];

    private static string ResultsOf(Room room) => Path.Combine(Folder, room.Name + ".json");
}
