using System.Diagnostics;
using System.Reflection.PortableExecutable;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using LoraNotebooks.Foundation;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>The files of restored packages, all in NuGet's own package folder.</summary>
/// <param name="CompileFiles">Assemblies to compile against.</param>
/// <param name="RuntimeFiles">Assemblies to load.</param>
/// <param name="NativeFiles">Native libraries for this system.</param>
internal sealed record RestoredPackages(IReadOnlyList<string> CompileFiles, IReadOnlyList<string> RuntimeFiles, IReadOnlyList<string> NativeFiles)
{
    /// <summary>The version of each package that came along, by name.</summary>
    public IReadOnlyDictionary<string, string> Versions { get; init; } = new Dictionary<string, string>();

    /// <summary>Packages that another one wanted in a newer version than was asked for by name.</summary>
    public IReadOnlyList<(string Id, string Used, string Asked)> Downgrades { get; init; } = [];

    /// <summary>The package, as <c>Name version</c>, that a file belongs to, by path.</summary>
    public IReadOnlyDictionary<string, string> Owners { get; init; } = new Dictionary<string, string>();
}

/// <summary>A package could not be restored; the message says why, in NuGet's words.</summary>
internal sealed class PackageRestoreException(string message) : Exception(message);

/// <summary>Restores packages by <c>dotnet restore</c> on a temporary project and reads the files from its <c>project.assets.json</c>.</summary>
/// <remarks>
/// The answer is cached under a hash of the request, so that a notebook that ran once starts without asking NuGet.
/// A floating version keeps the version of the first time.
/// </remarks>
internal static partial class PackageRestorer
{
    private const string AlwaysShared = "Microsoft.NETCore.App";

    private static readonly string Framework = $"net{Environment.Version.Major}.0";

    private static readonly ILookup<string, string> EmptyDependencies = Array.Empty<string>().ToLookup(id => id);

    private static string CacheFolder => Path.Combine(UserFolders.Cache, "packages");

    private static string CacheFile(string project) =>
        Path.Combine(CacheFolder, Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(project)))[..24] + ".assets.json");

    /// <summary>Restores a set of packages together, so that their versions agree.</summary>
    /// <param name="requests">The packages.</param>
    /// <param name="configFolder">The folder whose <c>nuget.config</c> chain counts, usually the notebook's.</param>
    /// <param name="sources">Package sources besides the configured ones: addresses or folders.</param>
    /// <param name="cancellation">Stops the restore.</param>
    /// <exception cref="PackageRestoreException">NuGet refused, or no SDK was found.</exception>
    public static async Task<RestoredPackages> RestoreAsync(
        IReadOnlyCollection<PackageRequest> requests,
        string configFolder,
        IEnumerable<string> sources,
        CancellationToken cancellation)
    {
        var project = ProjectXml(requests, configFolder, sources);
        var cached = CacheFile(project);
        if (File.Exists(cached) && ReadAssets(await File.ReadAllTextAsync(cached, cancellation).ConfigureAwait(false)) is { } known)
        {
            return known;
        }

        var folder = Directory.CreateTempSubdirectory("lora-notebooks-restore-").FullName;
        try
        {
            await File.WriteAllTextAsync(Path.Combine(folder, "packages.csproj"), project, cancellation).ConfigureAwait(false);
            foreach (var barrier in (string[])["Directory.Build.props", "Directory.Build.targets", "Directory.Packages.props"])
            {
                await File.WriteAllTextAsync(Path.Combine(folder, barrier), "<Project />", cancellation).ConfigureAwait(false);
            }

            var (exitCode, output) = await DotnetAsync(
                folder,
                ["restore", "packages.csproj", "-nologo", "-verbosity:quiet", "-nodeReuse:false"],
                cancellation).ConfigureAwait(false);
            var assets = Path.Combine(folder, "obj", "project.assets.json");
            if ((exitCode != 0 || !File.Exists(assets)) && OlderInstead(requests, output) is { } older)
            {
                var instead = await RestoreAsync(older, configFolder, sources, cancellation).ConfigureAwait(false);
                File.Copy(CacheFile(ProjectXml(older, configFolder, sources)), cached, overwrite: true);
                return instead;
            }

            if (exitCode != 0 || !File.Exists(assets))
            {
                var found = File.Exists(assets) ? Dependencies(await File.ReadAllTextAsync(assets, cancellation).ConfigureAwait(false)) : EmptyDependencies;
                throw new PackageRestoreException(Failure(requests, output, found));
            }

            var text = await File.ReadAllTextAsync(assets, cancellation).ConfigureAwait(false);
            var restored = ReadAssets(text) ?? throw new PackageRestoreException(Failure(
                requests,
                "The restored files are not where NuGet says they are. Clear its package cache (dotnet nuget locals all --clear) and try again.",
                EmptyDependencies));
            Directory.CreateDirectory(CacheFolder);
            AtomicFile.WriteAllText(cached, text);
            return restored;
        }
        finally
        {
            TryDelete(folder);
        }
    }

    /// <summary>The same requests with an older version of those whose newest one is for a newer .NET; null if that is not what failed.</summary>
    internal static IReadOnlyCollection<PackageRequest>? OlderInstead(IReadOnlyCollection<PackageRequest> requests, string output)
    {
        var tooNew = NotCompatible().Matches(output)
            .DistinctBy(match => match.Groups["id"].Value)
            .ToDictionary(match => match.Groups["id"].Value, match => match.Groups["major"].Value, StringComparer.OrdinalIgnoreCase);
        return requests.Any(IsTooNew)
            ? [.. requests.Select(request => IsTooNew(request) ? request with { Version = $"[*,{tooNew[request.Id]}.0.0)" } : request)]
            : null;

        // Only where any version was welcome; and each step goes down, so that there is an end.
        bool IsTooNew(PackageRequest request) => (request.Version == "*" || request.Version.StartsWith("[*,", StringComparison.Ordinal))
            && tooNew.TryGetValue(request.Id, out var major) && major != "0" && request.Version != $"[*,{major}.0.0)";
    }

    /// <summary>The project that is restored; also what the answer is kept under.</summary>
    internal static string ProjectXml(IEnumerable<PackageRequest> requests, string configFolder, IEnumerable<string> sources)
    {
        var references = requests
            .OrderBy(request => request.Id, StringComparer.OrdinalIgnoreCase)
            .Select(request => new XElement("PackageReference", new XAttribute("Include", request.Id), new XAttribute("Version", request.Version)));
        return new XElement("Project", new XAttribute("Sdk", "Microsoft.NET.Sdk"),
            new XElement("PropertyGroup",
                new XElement("TargetFramework", Framework),
                new XElement("RuntimeIdentifier", RuntimeInformation.RuntimeIdentifier),
                new XElement("SelfContained", "false"),
                new XElement("UseAppHost", "false"),
                new XElement("ManagePackageVersionsCentrally", "false"),
                new XElement("RestoreRootConfigDirectory", configFolder),
                new XElement("RestoreAdditionalProjectSources", string.Join(';', sources)),
                // What the session has stays; that another package wants a newer one of it is said, and no reason to refuse that package.
                new XElement("NoWarn", "NU1605;NU1608"),
                new XElement("NuGetAudit", "false")),
            new XElement("ItemGroup", references)).ToString();
    }

    /// <summary>The files that an assets file names, or null if one of them is gone.</summary>
    internal static RestoredPackages? ReadAssets(string json)
    {
        var root = JsonNode.Parse(json)!;
        var folders = root["packageFolders"]!.AsObject().Select(folder => folder.Key).ToArray();
        var target = root["targets"]!.AsObject().First(entry => entry.Key.Contains('/', StringComparison.Ordinal)).Value!.AsObject();
        var (compile, runtime, native) = (new List<string>(), new List<string>(), new List<string>());
        var (versions, owners) = (new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase), new Dictionary<string, string>(StringComparer.Ordinal));
        var shared = new SortedSet<string>(StringComparer.Ordinal);
        foreach (var (name, package) in target)
        {
            var (id, version) = name.Split('/') is [var left, var right] ? (left, right) : (name, "");
            versions[id] = version;
            shared.UnionWith((package!["frameworkReferences"] as JsonArray ?? []).Select(framework => (string)framework!));
            if (root["libraries"]![name]?["path"]?.GetValue<string>() is not { } path
                || folders.Select(f => Path.Combine(f, path)).FirstOrDefault(Directory.Exists) is not { } folder)
            {
                return null;
            }

            Collect(package["compile"], compile, ".dll");
            Collect(package["runtime"], runtime, ".dll");
            Collect(package["native"], native, "");

            void Collect(JsonNode? files, List<string> list, string extension)
            {
                foreach (var file in (files as JsonObject ?? []).Select(file => file.Key)
                    .Where(file => !file.EndsWith("/_._", StringComparison.Ordinal) && file.EndsWith(extension, StringComparison.OrdinalIgnoreCase)))
                {
                    list.Add(Path.GetFullPath(Path.Combine(folder, file)));
                    owners[list[^1]] = $"{id} {version}";
                }
            }
        }

        // A package may bring an assembly of the framework along: then that one is meant.
        var brought = runtime.Select(Path.GetFileName).ToHashSet(StringComparer.OrdinalIgnoreCase);
        foreach (var file in shared.Where(name => name != AlwaysShared).SelectMany(SharedFramework).Where(file => brought.Add(Path.GetFileName(file))))
        {
            compile.Add(file);
            runtime.Add(file);
            owners[file] = $"{Path.GetFileNameWithoutExtension(file)} {Path.GetFileName(Path.GetDirectoryName(file))}";
        }

        return compile.Concat(runtime).Concat(native).All(File.Exists)
            ? new RestoredPackages(compile, runtime, native) { Versions = versions, Owners = owners, Downgrades = Downgrades(target, versions) }
            : null;
    }

    private static IReadOnlyList<(string Id, string Used, string Asked)> Downgrades(JsonObject target, IReadOnlyDictionary<string, string> versions) => [..
        from package in target
        from needed in package.Value?["dependencies"] as JsonObject ?? []
        let asked = ((string?)needed.Value ?? "").Trim('[', ']', '(', ')').Split(',')[0].Trim()
        where versions.TryGetValue(needed.Key, out var used) && asked.Length > 0 && PackageRequest.Compare(asked, used) > 0
        select (needed.Key, versions[needed.Key], asked)];

    /// <summary>
    /// The assemblies of another part of .NET that a package stands on, such as ASP.NET Core, in the version that lies beside the running one.
    /// </summary>
    private static IEnumerable<string> SharedFramework(string name)
    {
        var folder = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", name));
        var version = (Directory.Exists(folder) ? Directory.EnumerateDirectories(folder) : [])
            .Where(path => Path.GetFileName(path).StartsWith($"{Environment.Version.Major}.", StringComparison.Ordinal))
            .MaxBy(path => Version.TryParse(Path.GetFileName(path), out var number) ? number : new Version());
        return version is not null ? Directory.EnumerateFiles(version, "*.dll").Where(IsManaged) : throw new PackageRestoreException(
            $"A package needs {name} {Environment.Version.Major}, a part of .NET that is not installed here. "
                + "Install that runtime, or choose a package that does without it.");
    }

    private static bool IsManaged(string path)
    {
        using var file = new PEReader(File.OpenRead(path));
        return file.HasMetadata;
    }

    private static async Task<(int ExitCode, string Output)> DotnetAsync(string folder, IReadOnlyList<string> arguments, CancellationToken cancellation)
    {
        var start = new ProcessStartInfo(DotnetHost.Path, arguments)
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        DotnetHost.CleanEnvironment(start);
        using var process = StartOrExplain(start);
        try
        {
            var output = process.StandardOutput.ReadToEndAsync(cancellation);
            var error = process.StandardError.ReadToEndAsync(cancellation);
            await process.WaitForExitAsync(cancellation).ConfigureAwait(false);
            return (process.ExitCode, await output.ConfigureAwait(false) + await error.ConfigureAwait(false));
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            throw;
        }
    }

    private static Process StartOrExplain(ProcessStartInfo start)
    {
        try
        {
            return Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            throw new PackageRestoreException(
                $"#r \"nuget: …\" needs the .NET SDK, but '{start.FileName}' could not be started ({error.Message}). "
                    + "Install the .NET 10 SDK and make sure that dotnet is on the PATH.");
        }
    }

    /// <summary>What NuGet said, under the names of those packages that it spoke of, or that brought along what it spoke of.</summary>
    /// <param name="requests">The packages that were asked for.</param>
    /// <param name="output">NuGet's words.</param>
    /// <param name="dependencies">The names of the packages that each package needs.</param>
    internal static string Failure(IReadOnlyCollection<PackageRequest> requests, string output, ILookup<string, string> dependencies)
    {
        string[] errors = [.. output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            .Where(line => line.Contains("error", StringComparison.OrdinalIgnoreCase))
            .Select(line => line.IndexOf("error ", StringComparison.Ordinal) is > 0 and var at ? line[at..] : line)
            .Select(line => line.LastIndexOf(" [", StringComparison.Ordinal) is > 0 and var at ? line[..at] : line)
            .Distinct()];
        PackageRequest[] named = [.. requests.Where(request => IsNamed(request.Id))];
        PackageRequest[] causes = named.Length > 0 ? named : [.. requests.Where(request => Closure(request.Id, dependencies).Any(IsNamed))];
        var names = (causes.Length > 0 ? causes : requests).Select(r => r.Version == "*" ? r.Id : $"{r.Id} {r.Version}");
        return $"NuGet could not restore {string.Join(" and ", names)}:\n"
            + $"  {string.Join("\n  ", errors.Take(10).DefaultIfEmpty(output.Trim()))}\n"
            + "Check the package's name and version, the network, and the sources of nuget.config.";

        bool IsNamed(string id) => errors.Any(line => Names(line, id));
    }

    /// <summary>The packages that each package of an assets file needs; NuGet writes the file also where it found only some of them.</summary>
    internal static ILookup<string, string> Dependencies(string json) => (
        from target in JsonNode.Parse(json)?["targets"] as JsonObject ?? []
        from package in target.Value as JsonObject ?? []
        from needed in package.Value?["dependencies"] as JsonObject ?? []
        select (Package: package.Key.Split('/')[0], Needed: needed.Key))
        .ToLookup(pair => pair.Package, pair => pair.Needed, StringComparer.OrdinalIgnoreCase);

    private static HashSet<string> Closure(string id, ILookup<string, string> dependencies)
    {
        var found = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        for (var waiting = new Stack<string>([id]); waiting.TryPop(out var next);)
        {
            foreach (var needed in dependencies[next].Where(found.Add))
            {
                waiting.Push(needed);
            }
        }

        return found;
    }

    /// <summary>Whether a line speaks of a package, and not only of one whose name begins or ends alike.</summary>
    private static bool Names(string line, string id) =>
        Regex.IsMatch(line, $@"(?<![\w.-]){Regex.Escape(id)}(?!\.?[\w-])", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant);

    [GeneratedRegex(@"NU1202: Package (?<id>\S+) (?<major>\d+)\.\S+ is not compatible")]
    private static partial Regex NotCompatible();

    private static void TryDelete(string folder)
    {
        try
        {
            Directory.Delete(folder, recursive: true);
        }
        catch (IOException)
        {
            // A scanner may hold a file of the temporary folder; the system clears it later.
        }
    }
}
