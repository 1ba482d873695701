using System.Collections.Immutable;
using System.Runtime.CompilerServices;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Sessions;

/// <summary>Answers <c>#r</c>: packages, files relative to the notebook, and assemblies of the application by name.</summary>
/// <remarks>
/// The compiler hands references on to later cells by itself, so the script options stay the same object from cell to cell;
/// new options for each cell would cost about a megabyte that is never freed.
/// </remarks>
internal sealed class CellReferenceResolver(string baseFolder, Action<string> report) : MetadataReferenceResolver
{
    private readonly Dictionary<string, PackageRequest> _packages = new(StringComparer.OrdinalIgnoreCase);
    private readonly Dictionary<string, ImmutableArray<PortableExecutableReference>> _answers = new(StringComparer.Ordinal);
    private readonly Dictionary<string, PortableExecutableReference> _files = new(StringComparer.Ordinal);

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
            if (!SessionReferences.Host.ContainsKey(request.Id))
            {
                added[request.Id] = request;
            }
        }

        IEnumerable<PortableExecutableReference> references = [];
        if (added.Count > _packages.Count || added.Any(entry => _packages.GetValueOrDefault(entry.Key) != entry.Value))
        {
            report($"Restoring {string.Join(", ", added.Values.Except(_packages.Values).Select(p => $"{p.Id} {p.Version}"))} …");
            var restored = await PackageRestorer.RestoreAsync(added.Values, baseFolder, cancellation).ConfigureAwait(false);
            references = restored.CompileFiles.Where(IsNew).Select(Reference).ToArray();
            foreach (var path in restored.RuntimeFiles.Where(IsNew))
            {
                if (RuntimeFiles.AddAssembly(path) is { } used)
                {
                    report($"{Path.GetFileName(path)} is in use already, from {used}; start the notebook anew to use {path}.");
                }
            }

            foreach (var path in restored.NativeFiles)
            {
                RuntimeFiles.AddNative(path);
            }

            foreach (var (id, request) in added)
            {
                _packages[id] = request;
            }
        }

        foreach (var directive in asked)
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

    /// <inheritdoc/>
    public override bool Equals(object? other) => ReferenceEquals(this, other);

    /// <inheritdoc/>
    public override int GetHashCode() => RuntimeHelpers.GetHashCode(this);

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
