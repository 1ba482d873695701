using System.ComponentModel;
using System.Diagnostics;
using LoraNotebooks.Kernel.Sessions;

[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace Jupyter.Tests;

/// <summary>What a test drives and the .NET SDK does not bring.</summary>
[Flags]
public enum Needs
{
    /// <summary>Chromium or Chrome.</summary>
    Chromium = 1,

    /// <summary>Jupyter Notebook 6 or JupyterLab.</summary>
    Jupyter = 2,

    /// <summary>A Python with nbclient.</summary>
    NbClient = 4,

    /// <summary>The packages of <see cref="Programs.Packages"/>, from the machine's sources.</summary>
    Packages = 8,
}

/// <summary>
/// A test that drives programs of the machine. Without them it is skipped, with the reason;
/// where LORANOTEBOOKS_REQUIRE_JUPYTER=1 says that they must be there, it runs and fails. Packages are no program: without them it is skipped there, too.
/// </summary>
public sealed class DrivesFactAttribute : FactAttribute
{
    public DrivesFactAttribute(Needs needs) => Skip = Programs.ReasonToSkip(needs);
}

/// <summary>The same for a theory.</summary>
public sealed class DrivesTheoryAttribute : TheoryAttribute
{
    public DrivesTheoryAttribute(Needs needs) => Skip = Programs.ReasonToSkip(needs);
}

internal static class Programs
{
    /// <summary>Packages that tests load into notebooks; the first has natives.</summary>
    public static IReadOnlyList<string> Packages { get; } = ["Microsoft.Data.Sqlite", "Humanizer.Core"];

    /// <summary>The system's own Python comes first among those that may have the package: there Debian puts it.</summary>
    private static readonly Lazy<string?> Python = new(() =>
        ((string[])["/usr/bin/python3", "python3", "python"]).FirstOrDefault(python => Runs(python, "-c", "import nbclient")));

    private static readonly Lazy<string?> PackageFault = new(() =>
    {
        // A new folder each time, as a test's notebooks have it: what was restored for another one says nothing about it.
        var folder = Directory.CreateTempSubdirectory("lora-packages-").FullName;
        try
        {
            var requests = Packages.Select(name => new PackageRequest(name, "*")).ToArray();
            PackageRestorer.RestoreAsync(requests, folder, [], CancellationToken.None).GetAwaiter().GetResult();
            return null;
        }
        catch (PackageRestoreException error)
        {
            return "NuGet's sources cannot be reached from here: " + error.Message.ReplaceLineEndings(" ");
        }
        finally
        {
            Directory.Delete(folder);
        }
    });

    public static string? PythonWithNbClient => Python.Value;

    public static string? Chromium { get; } = Find("chromium", "chromium-browser", "google-chrome", "chrome");

    public static string? ReasonToSkip(Needs needs)
    {
        if (needs.HasFlag(Needs.Packages) && PackageFault.Value is { } fault)
        {
            return fault;
        }

        if (Environment.GetEnvironmentVariable("LORANOTEBOOKS_REQUIRE_JUPYTER") == "1")
        {
            return null;
        }

        string[] missing =
        [
            .. needs.HasFlag(Needs.Chromium) && Chromium is null ? ["chromium"] : Array.Empty<string>(),
            .. needs.HasFlag(Needs.Jupyter) && Find("jupyter-notebook", "jupyter-lab") is null ? ["jupyter-notebook"] : Array.Empty<string>(),
            .. needs.HasFlag(Needs.NbClient) && PythonWithNbClient is null ? ["python3-nbclient"] : Array.Empty<string>(),
        ];
        return missing.Length == 0 ? null : $"Not installed here: {string.Join(", ", missing)}.";
    }

    private static string? Find(params string[] names) => (
        from folder in (Environment.GetEnvironmentVariable("PATH") ?? "").Split(Path.PathSeparator)
        from name in names
        let path = Path.Combine(folder, OperatingSystem.IsWindows() ? name + ".exe" : name)
        where File.Exists(path)
        select path).FirstOrDefault();

    private static bool Runs(string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true })!;
            process.StandardError.ReadToEnd();
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (Win32Exception)
        {
            return false;
        }
    }
}
