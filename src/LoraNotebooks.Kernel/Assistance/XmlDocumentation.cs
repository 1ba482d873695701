using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Assistance;

/// <summary>XML documentation files of one or more assemblies, read member by member.</summary>
/// <remarks>
/// The framework's files hold 32 MB in 61,000 members, of which a session looks at a few hundred:
/// only an index of hashes and places is kept, made at the first question.
/// </remarks>
internal sealed class XmlDocumentation : DocumentationProvider
{
    private readonly string[] _files;
    private readonly Lazy<Dictionary<ulong, Place>> _index;

    /// <summary>Documentation from files; none is opened yet.</summary>
    public XmlDocumentation(IEnumerable<string> files)
    {
        _files = [.. files];
        _index = new Lazy<Dictionary<ulong, Place>>(ReadIndex);
    }

    /// <inheritdoc/>
    public override bool Equals(object? other) => ReferenceEquals(this, other);

    /// <inheritdoc/>
    public override int GetHashCode() => RuntimeHelpers.GetHashCode(this);

    /// <summary>The <c>member</c> element of a documentation id, or an empty text.</summary>
    protected override string GetDocumentationForSymbol(
        string documentationMemberID,
        CultureInfo preferredCulture,
        CancellationToken cancellationToken = default)
    {
        if (!_index.Value.TryGetValue(Hash(Encoding.UTF8.GetBytes(documentationMemberID)), out var place))
        {
            return "";
        }

        try
        {
            using var file = File.OpenHandle(_files[place.File]);
            var bytes = new byte[place.Length];
            var read = RandomAccess.Read(file, bytes, place.Offset);
            var member = Encoding.UTF8.GetString(bytes, 0, read);
            return member.AsSpan(MemberStart.Length).StartsWith(documentationMemberID) ? member : "";
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException)
        {
            // The file went away with its package; the code is understood without it.
            return "";
        }
    }

    private static ReadOnlySpan<byte> MemberStart => "<member name=\""u8;

    private static ReadOnlySpan<byte> MemberEnd => "</member>"u8;

    private Dictionary<ulong, Place> ReadIndex()
    {
        var index = new Dictionary<ulong, Place>();
        for (var number = 0; number < _files.Length; number++)
        {
            try
            {
                Add(index, number, File.ReadAllBytes(_files[number]));
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                // As above: one unreadable file must not hide the others.
            }
        }

        index.TrimExcess();
        return index;
    }

    private static void Add(Dictionary<ulong, Place> index, int file, ReadOnlySpan<byte> xml)
    {
        for (var at = 0; xml[at..].IndexOf(MemberStart) is >= 0 and var found;)
        {
            var start = at + found;
            var name = xml[(start + MemberStart.Length)..];
            var length = xml[start..].IndexOf(MemberEnd);
            if (name.IndexOf((byte)'"') is not (> 0 and var nameLength) || length < 0)
            {
                return;
            }

            length += MemberEnd.Length;
            index.TryAdd(Hash(name[..nameLength]), new Place(file, start, length));
            at = start + length;
        }
    }

    /// <summary>FNV-1a in 64 bits.</summary>
    private static ulong Hash(ReadOnlySpan<byte> name)
    {
        var hash = 14695981039346656037UL;
        foreach (var letter in name)
        {
            hash = (hash ^ letter) * 1099511628211UL;
        }

        return hash;
    }

    private readonly record struct Place(int File, int Offset, int Length);
}
