using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using LoraNotebooks.Kernel.Sessions;
using LoraNotebooks.Tensors;

namespace LoraNotebooks.Kernel.Doctoring;

/// <summary>
/// The sweep over libtorch's operations, in a process of its own: a kernel that
/// writes beyond its memory ends that one, and the sweep goes on behind it.
/// </summary>
internal static class NumericsExam
{
    private const string Before = "? ";
    private const string After = "= ";
    private const int MostDeaths = 20;

    /// <summary>The arguments that make this program the sweep's own process, before the number to begin at.</summary>
    public const string Option = "--numerics-from";

    /// <summary>The process's part: runs operations in their order and says before each which, and after it how it came out.</summary>
    /// <param name="first">The number to begin at.</param>
    /// <param name="output">Where to say it.</param>
    public static void Work(int first, TextWriter output)
    {
        for (var number = first; number < NumericsSweep.Count; number++)
        {
            output.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{Before}{number}"));
            output.Flush();
            output.WriteLine(After + JsonSerializer.Serialize(NumericsSweep.Run(number)));
        }

        output.Flush();
    }

    /// <summary>Runs all operations in processes of this program.</summary>
    public static IReadOnlyList<NumericsOutcome> Run(CancellationToken cancellation) =>
        Run(first => Lines(first, cancellation), NumericsSweep.Count, NumericsSweep.Name);

    /// <summary>See above, with the process in the caller's hands.</summary>
    /// <param name="start">Starts a process at a number and gives what it says.</param>
    /// <param name="count">The number of operations.</param>
    /// <param name="name">Kind and sizes of an operation.</param>
    internal static IReadOnlyList<NumericsOutcome> Run(Func<int, IEnumerable<string>> start, int count, Func<int, string> name)
    {
        var outcomes = new List<NumericsOutcome>();
        for (var (first, deaths) = (0, 0); first < count && deaths < MostDeaths; deaths++)
        {
            var running = first - 1;
            var isRunning = true;
            foreach (var line in start(first))
            {
                if (line.StartsWith(Before, StringComparison.Ordinal))
                {
                    (running, isRunning) = (int.Parse(line.AsSpan(Before.Length), CultureInfo.InvariantCulture), true);
                }
                else if (line.StartsWith(After, StringComparison.Ordinal))
                {
                    outcomes.Add(JsonSerializer.Deserialize<NumericsOutcome>(line.AsSpan(After.Length))!);
                    isRunning = false;
                }
            }

            if (!isRunning && running == count - 1)
            {
                break;
            }

            // Without a word of its first operation the process could not begin, and would not at the next one.
            if (running < first)
            {
                throw new InvalidOperationException(
                    "The process for the sweep ended before its first operation. Run 'lora-notebooks doctor' to see whether libtorch loads.");
            }

            var parts = name(running).Split(", ", 2);
            outcomes.Add(new NumericsOutcome(parts[0], parts[1], "ended the process", IsGoneAround: false));
            first = running + 1;
        }

        return outcomes;
    }

    private static IEnumerable<string> Lines(int first, CancellationToken cancellation)
    {
        var start = new ProcessStartInfo(
            DotnetHost.Path,
            [typeof(NumericsExam).Assembly.Location, "doctor", Option, first.ToString(CultureInfo.InvariantCulture)])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        using var process = Process.Start(start)!;
        process.ErrorDataReceived += static (_, _) => { };
        process.BeginErrorReadLine();
        using var stop = cancellation.Register(() => process.Kill(entireProcessTree: true));
        while (process.StandardOutput.ReadLine() is { } line)
        {
            yield return line;
        }

        process.WaitForExit();
        cancellation.ThrowIfCancellationRequested();
    }
}
