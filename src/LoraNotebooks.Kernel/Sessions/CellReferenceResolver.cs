using System.Collections.Immutable;
using System.Reflection;
using System.Runtime.CompilerServices;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Answers <c>#r</c>: packages, files relative to the notebook, and assemblies of the application by name.</summary>
/// <remarks>
/// The compiler hands references on to later cells by itself: only the first cell is given those of the application.
/// </remarks>
/// <param name="baseFolder">Where relative paths start, absolute.</param>
/// <param name="report">Told of what takes time.</param>
/// <param name="note">Told of what is other than was asked for.</param>
internal sealed class CellReferenceResolver(string baseFolder, Action<string> report, Action<string> note) : MetadataReferenceResolver
{
    private const string Restart = "Start the notebook anew to use another version.";
    private const int MostNoted = 10;

    private readonly SortedSet<string> _sources = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PackageRequest> _packages = new(StringComparer.OrdinalIgnoreCase);
    private readonly Dictionary<string, PortableExecutableReference> _answers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _versions = new(StringComparer.OrdinalIgnoreCase);
    private readonly Dictionary<string, PortableExecutableReference> _references = new(StringComparer.OrdinalIgnoreCase);
    private readonly Dictionary<string, string> _owners = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<string> _noted = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PortableExecutableReference> _files = new(StringComparer.Ordinal);

    /// <summary>The assemblies of all packages so far; a directive could name only one of them to the compiler.</summary>
    public IReadOnlyCollection<PortableExecutableReference> PackageReferences => _references.Values;

    /// <summary>Adds a package source for what is restored from here on.</summary>
    /// <param name="directive">The text after <c>#i</c>: <c>"nuget: address or folder"</c>.</param>
    /// <exception cref="CellMagicException">It cannot be read, or the folder does not exist.</exception>
    public void AddSource(string directive)
    {
        var quoted = directive.Trim();
        if (quoted.Length < 3 || quoted[0] != '"' || quoted[^1] != '"' || !PackageRequest.IsPackage(quoted[1..^1]))
        {
            throw new CellMagicException($"#i {directive} cannot be read. Write #i \"nuget: https://…/index.json\" or #i \"nuget: folder\".");
        }

        var source = quoted[1..^1].TrimStart()["nuget:".Length..].Trim();
        if (!source.Contains("://", StringComparison.Ordinal))
        {
            source = Path.GetFullPath(source, baseFolder);
            if (!Directory.Exists(source))
            {
                throw new CellMagicException($"There is no folder {source} to take packages from.");
            }
        }

        _sources.Add(source);
    }

    /// <summary>Restores the packages among the directives of a cell, together with those of earlier cells.</summary>
    /// <exception cref="PackageRestoreException">A directive cannot be read, or NuGet refused.</exception>
    public async Task PrepareAsync(IEnumerable<string> directives, CancellationToken cancellation)
    {
        var asked = directives.Where(directive => PackageRequest.IsPackage(directive) && !_answers.ContainsKey(directive)).Distinct().ToArray();
        if (asked.Length == 0)
        {
            return;
        }

        var added = new Dictionary<string, PackageRequest>(StringComparer.OrdinalIgnoreCase);
        foreach (var directive in asked)
        {
            if (!PackageRequest.TryParse(directive, out var request))
            {
                throw new PackageRestoreException(
                    $"#r \"{directive}\" cannot be read. Write #r \"nuget: Name, version\", for example #r \"nuget: Humanizer.Core, 2.14.1\".");
            }

            // What the application brings is there already, in the one version that fits its natives.
            if (HostPackages.Find(request.Id) is { } host)
            {
                _answers[directive] = host.Reference;
                NoteOther(request, host.Version, mayBeNewer: host.IsFramework);
            }
            else if (IsExtensionOfAnotherHost(request.Id))
            {
                report($"{request.Id} extends .NET Interactive; this kernel shows its objects by itself, so nothing was loaded.");
                _answers[directive] = HostPackages.Nothing;
            }
            else if (_packages.ContainsKey(request.Id))
            {
                // Cells were compiled with the first one, and it may be loaded.
                NoteOther(request, _versions.GetValueOrDefault(request.Id, _packages[request.Id].Version), mayBeNewer: false);
                _answers[directive] = HostPackages.Nothing;
            }
            else if (!added.TryAdd(request.Id, request))
            {
                NoteOther(request, added[request.Id].Version, mayBeNewer: false);
            }
        }

        if (added.Count > 0)
        {
            report($"Restoring {string.Join(", ", added.Values.Select(p => p.Version == "*" ? p.Id : $"{p.Id} {p.Version}"))} …");
            Take(await PackageRestorer.RestoreAsync([.. _packages.Values, .. added.Values], baseFolder, _sources, cancellation).ConfigureAwait(false));
            foreach (var (id, request) in added)
            {
                _packages[id] = request;
            }
        }

        foreach (var directive in asked)
        {
            // A directive must resolve to something; the assemblies of packages are given to the compiler all at once.
            _answers.TryAdd(directive, HostPackages.Nothing);
        }
    }

    /// <summary>Makes the files of packages usable; of assemblies that the session has in another version it keeps its own, and says so.</summary>
    private void Take(RestoredPackages restored)
    {
        foreach (var path in restored.CompileFiles.Where(IsNew))
        {
            _references.TryAdd(Path.GetFileNameWithoutExtension(path), Reference(path));
        }

        List<string> others = [.. restored.Downgrades.Select(package => Other(package.Id, package.Used, package.Asked))];
        foreach (var path in restored.RuntimeFiles)
        {
            var name = Path.GetFileNameWithoutExtension(path);
            var owner = restored.Owners.GetValueOrDefault(path, name);
            if (!IsNew(path))
            {
                if (AssemblyName.GetAssemblyName(path).Version > SessionReferences.VersionOf(SessionReferences.Host[name]))
                {
                    others.Add(Other(name, HostPackages.VersionOf(name), owner[(owner.IndexOf(' ', StringComparison.Ordinal) + 1)..]));
                }
            }
            else if (!_owners.TryAdd(name, owner))
            {
                if (_owners[name] != owner)
                {
                    var (id, kept) = (owner.Split(' ')[0], _owners[name]);
                    others.Add(kept.StartsWith(id + " ", StringComparison.Ordinal)
                        ? Other(id, kept[(id.Length + 1)..], owner[(id.Length + 1)..])
                        : $"{kept} is used; {owner} was asked for. {Restart}");
                }
            }
            else if (RuntimeFiles.AddAssembly(path) is { } used)
            {
                note($"{Path.GetFileName(path)} is in use already, from {used}; start the notebook anew to use that of {owner}.");
            }
        }

        // Each session says it once: every later restore finds the same again.
        string[] news = [.. others.Where(_noted.Add)];
        foreach (var line in news.Take(MostNoted).Concat(news.Length > MostNoted ? [$"So it is with {news.Length - MostNoted} more."] : []))
        {
            note(line);
        }

        foreach (var (id, version) in restored.Versions)
        {
            _versions.TryAdd(id, version);
        }

        RuntimeFiles.AddNatives(restored.NativeFiles);
    }

    private void NoteOther(PackageRequest request, string used, bool mayBeNewer)
    {
        if (!request.Admits(used) && request.Version != used && !(mayBeNewer && PackageRequest.Compare(used, request.Version) > 0))
        {
            note(Other(request.Id, used, request.Version));
        }
    }

    private static string Other(string id, string used, string asked) =>
        $"{id} {used} is used; {asked} was asked for.{(HostPackages.Find(id) is null ? " " + Restart : "")}";

    /// <inheritdoc/>
    public override ImmutableArray<PortableExecutableReference> ResolveReference(string reference, string? baseFilePath, MetadataReferenceProperties properties)
    {
        if (PackageRequest.IsPackage(reference))
        {
            // Only a package named in a #load'ed file is still unknown here.
            if (!_answers.ContainsKey(reference))
            {
                Task.Run(() => PrepareAsync([reference], CancellationToken.None)).GetAwaiter().GetResult();
            }

            return [_answers[reference]];
        }

        var path = Path.GetFullPath(
            reference,
            string.IsNullOrEmpty(baseFilePath) ? baseFolder : Path.GetDirectoryName(Path.GetFullPath(baseFilePath, baseFolder))!);
        if (!File.Exists(path))
        {
            return SessionReferences.Host.TryGetValue(reference, out var host) ? [host] : [];
        }

        if (!IsNew(path))
        {
            return [SessionReferences.Host[Path.GetFileNameWithoutExtension(path)]];
        }

        // The libraries beside it are what it was built with.
        foreach (var neighbour in Directory.EnumerateFiles(Path.GetDirectoryName(path)!, "*.dll").Where(file => file != path && IsNew(file)).Prepend(path))
        {
            RuntimeFiles.AddAssembly(neighbour);
        }

        return [Reference(path)];
    }

    /// <summary>Assemblies that only others refer to, such as the facades that forward types, are not given to the compiler until it asks.</summary>
    public override bool ResolveMissingAssemblies => true;

    /// <inheritdoc/>
    public override PortableExecutableReference? ResolveMissingAssembly(MetadataReference definition, AssemblyIdentity referenceIdentity) =>
        SessionReferences.Host.GetValueOrDefault(referenceIdentity.Name) ?? _references.GetValueOrDefault(referenceIdentity.Name);

    /// <inheritdoc/>
    public override bool Equals(object? other) => ReferenceEquals(this, other);

    /// <inheritdoc/>
    public override int GetHashCode() => RuntimeHelpers.GetHashCode(this);

    private static bool IsExtensionOfAnotherHost(string id) =>
        id.StartsWith("Microsoft.DotNet.Interactive", StringComparison.OrdinalIgnoreCase)
            || id.EndsWith(".Interactive", StringComparison.OrdinalIgnoreCase) && SessionReferences.Host.ContainsKey(id[..^".Interactive".Length]);

    private static bool IsNew(string path) => !SessionReferences.Host.ContainsKey(Path.GetFileNameWithoutExtension(path));

    private PortableExecutableReference Reference(string path)
    {
        if (!_files.TryGetValue(path, out var reference))
        {
            _files[path] = reference = SessionReferences.FromFile(path);
        }

        return reference;
    }
}
