using System.Diagnostics;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Security.Cryptography;
using System.Text.Json;

namespace Quality;

/// <summary>
/// A project of the product compiled with thousands of small changes inside, each asleep until its number is set, as dotnet-stryker makes it (pinned in
/// .config/dotnet-tools.json). It is made anew only after the project's code has changed.
/// </summary>
internal sealed class Mutants
{
    // Left alone: the texts of exceptions, whose words no test should repeat, and guards against null, which nullable annotations forbid already.
    private static readonly string[] IgnoredMethods = ["*Exception.ctor", "ThrowIfNull", "ConfigureAwait", "SuppressFinalize"];

    private readonly string _folder;
    private readonly string _project;

    private Mutants(string project)
    {
        _project = project;
        _folder = Path.Combine(Checkout.Artifacts, "mutation", project);
    }

    /// <summary>Where a project's changed assembly, its tests and what became of its changes are kept.</summary>
    public static string FolderOf(string project) => new Mutants(project)._folder;

    /// <summary>The changes of a project that are at hand, or null where none were made yet.</summary>
    public static IReadOnlyList<Mutant>? Kept(string project) =>
        new Mutants(project) is var mutants && File.Exists(mutants.Report) ? MutationReport.Read(mutants.Report, mutants.Source) : null;

    /// <summary>Makes the changed assembly, puts it among freshly built tests and returns the changes.</summary>
    /// <exception cref="InvalidOperationException">The tests do not build, or Stryker did not make changes; its output says why.</exception>
    public static IReadOnlyList<Mutant> Make(string project)
    {
        var mutants = new Mutants(project);
        mutants.MakeAssembly();
        mutants.PlaceTests();
        return MutationReport.Read(mutants.Report, mutants.Source);
    }

    private string Source => Path.Combine(Checkout.Root, "src", _project);

    private string Assembly => Path.Combine(_folder, AssemblyOf(_project) + ".dll");

    private string Report => Path.Combine(_folder, "reports", "mutation-report.html");

    /// <summary>The file name, without its ending, of what a project compiles to.</summary>
    public static string AssemblyOf(string project) => project == "LoraNotebooks.Kernel" ? "lora-notebooks" : project;

    /// <summary>A folder of the tests with the changed assembly among them, as deep below the checkout as their own.</summary>
    public static string TestsOf(string project) => Path.Combine(FolderOf(project), "Release", "net10.0");

    private void MakeAssembly()
    {
        var hash = Path.Combine(_folder, "sources.sha256");
        if (File.Exists(hash) && File.ReadAllText(hash) == HashOfSources())
        {
            return;
        }

        if (Directory.Exists(_folder))
        {
            Directory.Delete(_folder, recursive: true);
        }

        Directory.CreateDirectory(_folder);
        var config = Path.Combine(_folder, "stryker-config.json");
        File.WriteAllText(config, JsonSerializer.Serialize(new Dictionary<string, object> { ["stryker-config"] = Options() }));
        Checkout.Run(Checkout.Root, "tool", "restore");
        RunStryker(config);
        if (!File.Exists(Report) || !File.Exists(Assembly) || !HoldsChanges(Assembly))
        {
            throw new InvalidOperationException($"Stryker made no changed {Path.GetFileName(Assembly)}; its output above says why.");
        }

        File.WriteAllText(hash, HashOfSources());
    }

    // Stryker is asked for its changes and for a page that shows them from the start. It would then try them one process at a time, so it is ended.
    private void RunStryker(string config)
    {
        var tests = Checkout.TestsOf(_project);
        var start = new ProcessStartInfo("dotnet", ["stryker", "--config-file", config, "--output", _folder, "--open-report:html"])
        {
            WorkingDirectory = tests,
            RedirectStandardOutput = true,
        };
        using var process = Process.Start(start)!;
        var placed = Path.Combine(tests, "bin", "Release", "net10.0", Path.GetFileName(Assembly));
        while (process.StandardOutput.ReadLine() is { } line)
        {
            Console.WriteLine(line);
            if (line.Contains("Capture mutant coverage", StringComparison.Ordinal))
            {
                File.Copy(placed, Assembly);
            }
            else if (File.Exists(Assembly)
                && (line.Contains("mutants will be tested", StringComparison.Ordinal) || line.Contains("An error occurred", StringComparison.Ordinal)))
            {
                process.Kill(entireProcessTree: true);
            }
        }

        process.WaitForExit();
        if (File.Exists(placed + ".stryker-unchanged"))
        {
            File.Move(placed + ".stryker-unchanged", placed, overwrite: true);
        }
    }

    // Tests that come by next to nothing are enough: this run is for the changes, not for what becomes of them.
    private Dictionary<string, object> Options() => new()
    {
        ["project"] = _project + ".csproj",
        ["configuration"] = "Release",
        ["mutate"] = (string[])["**/*.cs"],
        ["test-case-filter"] = "FullyQualifiedName~" + Room.All.First(room => room.Project == _project).Sample,
        ["ignore-methods"] = IgnoredMethods,
        ["coverage-analysis"] = "perTest",
        ["concurrency"] = Environment.ProcessorCount,
        ["reporters"] = (string[])["html"],
    };

    private void PlaceTests()
    {
        Checkout.Run(Checkout.TestsOf(_project), "build", "--configuration", "Release");
        var (from, to) = (Path.Combine(Checkout.TestsOf(_project), "bin", "Release", "net10.0"), TestsOf(_project));
        if (Directory.Exists(to))
        {
            Directory.Delete(to, recursive: true);
        }

        CopyFolder(from, to);
        File.Copy(Assembly, Path.Combine(to, Path.GetFileName(Assembly)), overwrite: true);

        // The process that runs the tests is this program, beside them.
        File.Copy(typeof(Mutants).Assembly.Location, MutationWorker.ProgramOf(_project), overwrite: true);
    }

    private static void CopyFolder(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (var file in Directory.GetFiles(from))
        {
            File.Copy(file, Path.Combine(to, Path.GetFileName(file)));
        }

        foreach (var folder in Directory.GetDirectories(from))
        {
            CopyFolder(folder, Path.Combine(to, Path.GetFileName(folder)));
        }
    }

    private string HashOfSources()
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var files = Directory.GetFiles(Source, "*.*", SearchOption.AllDirectories)
            .Where(file => Path.GetExtension(file) is ".cs" or ".csproj"
                && Path.GetRelativePath(Source, file).Split(Path.DirectorySeparatorChar)[0] is not ("obj" or "bin"));
        foreach (var file in files.Order(StringComparer.Ordinal))
        {
            hash.AppendData(File.ReadAllBytes(file));
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }

    private static bool HoldsChanges(string assembly)
    {
        using var file = new PEReader(File.OpenRead(assembly));
        var metadata = file.GetMetadataReader();
        return metadata.TypeDefinitions.Any(type => metadata.GetString(metadata.GetTypeDefinition(type).Name) == MutationWorker.Switch);
    }
}
