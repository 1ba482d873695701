using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace Quality;

/// <summary>Tries every change of a room against the tests that come by it, in as many processes as there are processors.</summary>
internal sealed class MutationTrial
{
    // Changes per process: what an earlier one leaves behind goes with its process.
    private const int Portion = 100;

    // Seconds of tests, the quickest first, that a change gets; one that is still unnoticed then counts as unnoticed.
    private const double Budget = 20;

    // How long tests may take with a change: a start, and thrice what they took without.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    private readonly Room _room;
    private readonly string _folder;
    private readonly IReadOnlyList<TestCoverage> _tests;
    private readonly Dictionary<string, double> _seconds;
    private readonly ConcurrentDictionary<int, (string Status, string By)> _results = [];
    private int _jobs;

    private MutationTrial(Room room, string folder)
    {
        _room = room;
        _folder = folder;
        _tests = Cover();
        _seconds = _tests.ToDictionary(static test => test.Id, static test => test.Seconds);
    }

    /// <summary>Tries the changes and returns them with what became of them.</summary>
    /// <param name="room">The room.</param>
    /// <param name="mutants">Its changes that compile and are not left alone.</param>
    public static IReadOnlyList<Mutant> Run(Room room, IReadOnlyList<Mutant> mutants)
    {
        var folder = Path.Combine(Checkout.Artifacts, "mutation", room.Name);
        if (Directory.Exists(folder))
        {
            Directory.Delete(folder, recursive: true);
        }

        Directory.CreateDirectory(folder);
        var trial = new MutationTrial(room, folder);
        trial.TryAll(mutants);
        return [.. mutants.Select(mutant => trial._results[mutant.Id] is var (status, by) ? mutant with { Status = status, By = by } : mutant)];
    }

    private TestCoverage[] Cover()
    {
        var output = Path.Combine(_folder, "coverage.jsonl");
        using var process = MutationWorker.Start(_room.Project, WriteJob(new(_room.Project, _room.Tests, null, Fresh: false, output)));
        process.WaitForExit();
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException(
                $"{_room.Name}: the process that asks which tests come by which changes ended with {process.ExitCode}; {output} has what it found.");
        }

        var tests = File.ReadLines(output).Select(static line => JsonSerializer.Deserialize<TestCoverage>(line)!).ToArray();
        foreach (var test in tests.Where(static test => test.Failed))
        {
            Console.WriteLine($"{_room.Name}: fails without any change and notices nothing here: {test.Name}");
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{_room.Name}: {tests.Length} tests, {tests.Sum(static test => test.Seconds):0} s"));
        return [.. tests.Where(static test => !test.Failed).OrderBy(static test => test.Seconds)];
    }

    private void TryAll(IReadOnlyList<Mutant> mutants)
    {
        var always = TestsBy(static test => test.Covered);
        var once = TestsBy(static test => test.Once);
        foreach (var mutant in mutants)
        {
            if (!always.ContainsKey(mutant.Id) && !once.ContainsKey(mutant.Id))
            {
                _results[mutant.Id] = ("NoCoverage", "");
            }
        }

        TryIn(Portion, mutants.Where(mutant => always.ContainsKey(mutant.Id)).Select(mutant => new MutationTry(mutant.Id, Affordable(always[mutant.Id]))));

        // What a type or a cache keeps was there before the change was on: this needs a process of its own, and all tests that come by the same file.
        var ofFile = mutants.GroupBy(static mutant => mutant.File).ToDictionary(
            static file => file.Key,
            file => _tests.Where(test => file.Any(mutant => test.Covered.Contains(mutant.Id) || test.Once.Contains(mutant.Id)))
                .Select(static test => test.Id)
                .ToArray());
        var again = mutants.Where(mutant => once.ContainsKey(mutant.Id) && (!_results.TryGetValue(mutant.Id, out var result) || result.Status == "Survived"));
        TryIn(1, again.Select(mutant => new MutationTry(
            mutant.Id,
            Affordable(once[mutant.Id].Union(always.GetValueOrDefault(mutant.Id, [])).Union(ofFile[mutant.File])))));
    }

    private string[] Affordable(IEnumerable<string> tests)
    {
        var seconds = 0.0;
        return [.. tests.TakeWhile(test => (seconds += _seconds[test]) <= Budget || seconds == _seconds[test])];
    }

    private Dictionary<int, List<string>> TestsBy(Func<TestCoverage, IReadOnlyList<int>> select)
    {
        Dictionary<int, List<string>> tests = [];
        foreach (var test in _tests)
        {
            foreach (var mutant in select(test))
            {
                (tests.TryGetValue(mutant, out var known) ? known : tests[mutant] = []).Add(test.Id);
            }
        }

        return tests;
    }

    private void TryIn(int portion, IEnumerable<MutationTry> tries)
    {
        var queue = new ConcurrentQueue<MutationTry[]>(tries.Chunk(portion));
        var all = queue.Sum(static chunk => chunk.Length);
        var before = _results.Count;
        var watch = Stopwatch.StartNew();
        var threads = Enumerable.Range(0, Environment.ProcessorCount).Select(_ => new Thread(() =>
        {
            while (queue.TryDequeue(out var chunk))
            {
                for (var left = chunk; left.Length > 0;)
                {
                    left = TryIn(left, fresh: portion == 1);
                }
            }
        })).ToArray();
        foreach (var thread in threads)
        {
            thread.Start();
        }

        while (!Array.TrueForAll(threads, static thread => thread.Join(TimeSpan.FromSeconds(30))))
        {
            var count = _results.Values.CountBy(static result => result.Status).Select(static status => $"{status.Value} {status.Key}");
            Console.WriteLine(
                $"{_room.Name} {watch.Elapsed:h\\:mm\\:ss}: {(portion == 1 ? $"{all} again in processes of their own; " : "")}{string.Join(", ", count)}");
        }
    }

    // Returns what the process did not come to.
    private MutationTry[] TryIn(MutationTry[] tries, bool fresh)
    {
        var output = Path.Combine(_folder, $"try-{Interlocked.Increment(ref _jobs)}.tsv");
        File.WriteAllText(output, "");
        var job = WriteJob(new(_room.Project, _room.Tests, tries, fresh, output));
        using var process = MutationWorker.Start(_room.Project, job);
        using var lines = new StreamReader(new FileStream(output, FileMode.Open, FileAccess.Read, FileShare.ReadWrite));
        var (index, since, last) = (0, Stopwatch.StartNew(), "");
        var cleared = -1;
        while (true)
        {
            var hasExited = process.HasExited;
            while (lines.ReadLine() is { } line)
            {
                var parts = line.Split('\t');
                since.Restart();
                last = parts[0];
                switch (last)
                {
                    case "passed":
                        _results[tries[index++].Mutant] = ("Survived", "");
                        break;
                    case "failed":
                        _results[tries[index++].Mutant] = ("Killed", parts[2]);
                        break;

                    // The process was new to it, so nothing else can have been left behind.
                    case "unclean" when index == 0:
                        _results[tries[index++].Mutant] = ("Killed", parts[2]);
                        break;
                    case "unclean":
                        cleared = index;
                        break;
                }
            }

            if (index == tries.Length || (hasExited && (last is not "start" || cleared == index)))
            {
                break;
            }

            if (hasExited)
            {
                // The change ended the process: for certain only if none was on before.
                if (index == 0)
                {
                    _results[tries[index++].Mutant] = ("Crashed", "");
                }

                break;
            }

            if (since.Elapsed > Patience + TimeSpan.FromSeconds((3 * tries[index].Tests.Sum(test => _seconds[test])) + (last == "" ? 20 : 0)))
            {
                _results[tries[index++].Mutant] = ("Timeout", "");
                break;
            }

            Thread.Sleep(20);
        }

        process.Kill(entireProcessTree: true);
        process.WaitForExit();
        File.Delete(output);
        File.Delete(job);
        return tries[index..];
    }

    private string WriteJob(MutationJob job)
    {
        var path = Path.Combine(_folder, $"job-{Interlocked.Increment(ref _jobs)}.json");
        File.WriteAllText(path, JsonSerializer.Serialize(job));
        return path;
    }
}
