using System.Diagnostics;

namespace Quality;

/// <summary>The checkout that this tool belongs to, and programs that run in it.</summary>
internal static class Checkout
{
    /// <summary>Its root: the nearest folder above that has the solution.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Where reports go; git ignores it.</summary>
    public static string Artifacts { get; } = Path.Combine(Root, "artifacts");

    /// <summary>The tests of a project of the product, e.g. tests/LoraNotebooks.Tests.</summary>
    public static string TestsOf(string project) => Path.Combine(Root, "tests", project + ".Tests");

    /// <summary>Runs <c>dotnet</c> with its output on this terminal and returns how it exited.</summary>
    public static int Dotnet(string folder, params IEnumerable<string> arguments)
    {
        var start = new ProcessStartInfo("dotnet", arguments) { WorkingDirectory = folder };

        // As in tests/test.runsettings: tiny tensors gain nothing from more threads.
        start.Environment["OMP_NUM_THREADS"] = "1";
        using var process = Process.Start(start)!;
        process.WaitForExit();
        return process.ExitCode;
    }

    /// <summary>Runs <c>dotnet</c> and throws if it fails.</summary>
    /// <exception cref="InvalidOperationException">It did not end with 0.</exception>
    public static void Run(string folder, params IReadOnlyList<string> arguments)
    {
        if (Dotnet(folder, arguments) is not 0 and var exit)
        {
            throw new InvalidOperationException($"dotnet {string.Join(' ', arguments)} ended with {exit}; its output above says why.");
        }
    }

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "LoraNotebooks.sln")))
            {
                return folder.FullName;
            }
        }

        throw new InvalidOperationException($"No LoraNotebooks.sln above {AppContext.BaseDirectory}; run this tool from its checkout.");
    }
}
