using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Answers <c>#r</c>: packages, files relative to the notebook, and assemblies of the application by name.</summary>
/// <remarks>
/// The compiler hands references on to later cells by itself: only the first cell is given those of the application.
/// </remarks>
internal sealed class CellReferenceResolver(string baseFolder, Action<string> report) : MetadataReferenceResolver
{
    private readonly SortedSet<string> _sources = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PackageRequest> _packages = new(StringComparer.OrdinalIgnoreCase);
    private readonly Dictionary<string, ImmutableArray<PortableExecutableReference>> _answers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PortableExecutableReference> _files = new(StringComparer.Ordinal);

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

        var added = new Dictionary<string, PackageRequest>(_packages, StringComparer.OrdinalIgnoreCase);
        foreach (var directive in asked)
        {
            if (!PackageRequest.TryParse(directive, out var request))
            {
                throw new PackageRestoreException($"#r \"{directive}\" cannot be read. Write #r \"nuget: Name, version\", for example #r \"nuget: Humanizer.Core, 2.14.1\".");
            }

            // What the application brings is there already, in the one version that fits its natives.
            if (SessionReferences.Host.TryGetValue(request.Id, out var host))
            {
                _answers[directive] = [host];
            }
            else if (IsExtensionOfAnotherHost(request.Id))
            {
                report($"{request.Id} extends .NET Interactive; this kernel shows its objects by itself, so nothing was loaded.");
                _answers[directive] = [SessionReferences.Host["System.Runtime"]];
            }
            else
            {
                added[request.Id] = request;
            }
        }

        IReadOnlyList<PortableExecutableReference> references = [];
        if (added.Count > _packages.Count || added.Any(entry => _packages.GetValueOrDefault(entry.Key) != entry.Value))
        {
            report($"Restoring {string.Join(", ", added.Values.Except(_packages.Values).Select(p => $"{p.Id} {p.Version}"))} …");
            var restored = await PackageRestorer.RestoreAsync(added.Values, baseFolder, _sources, cancellation).ConfigureAwait(false);
            references = [.. restored.CompileFiles.Where(IsNew).Select(Reference)];
            foreach (var path in restored.RuntimeFiles.Where(IsNew))
            {
                if (RuntimeFiles.AddAssembly(path) is { } used)
                {
                    report($"{Path.GetFileName(path)} is in use already, from {used}; start the notebook anew to use {path}.");
                }
            }

            RuntimeFiles.AddNatives(restored.NativeFiles);

            foreach (var (id, request) in added)
            {
                _packages[id] = request;
            }
        }

        foreach (var directive in asked.Where(directive => !_answers.ContainsKey(directive)))
        {
            // A directive that adds nothing must still resolve to something.
            _answers[directive] = [.. references.DefaultIfEmpty(SessionReferences.Host["System.Runtime"])];
        }
    }

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

            return _answers[reference];
        }

        var path = Path.GetFullPath(reference, string.IsNullOrEmpty(baseFilePath) ? baseFolder : Path.GetDirectoryName(Path.GetFullPath(baseFilePath, baseFolder))!);
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
        SessionReferences.Host.GetValueOrDefault(referenceIdentity.Name);

    /// <inheritdoc/>
    public override bool Equals(object? other) => ReferenceEquals(this, other);

    /// <inheritdoc/>
    public override int GetHashCode() => RuntimeHelpers.GetHashCode(this);

    private static bool IsExtensionOfAnotherHost(string id) =>
        id.StartsWith("Microsoft.DotNet.Interactive", StringComparison.OrdinalIgnoreCase) || id.EndsWith(".Interactive", StringComparison.OrdinalIgnoreCase) && SessionReferences.Host.ContainsKey(id[..^".Interactive".Length]);

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
