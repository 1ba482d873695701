using System.Reflection;
using System.Runtime.CompilerServices;

namespace LoraNotebooks.Interactive;

/// <summary>What stands in place of a value that could not be read.</summary>
internal sealed record Fault(Exception Error)
{
    /// <summary>Type and message in a line.</summary>
    public override string ToString() => $"({TypeNames.Of(Error.GetType())}: {ValueText.Line(Error.Message, 120)})";
}

/// <summary>A part of an object that is shown: a property, a field or a tuple's item.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Get">Reads it, and may throw.</param>
internal sealed record Member(string Name, Func<object, object?> Get)
{
    /// <summary>The value, or a <see cref="Fault"/>.</summary>
    public object? Read(object owner)
    {
        try
        {
            return Get(owner);
        }
        catch (TargetInvocationException error)
        {
            return new Fault(error.InnerException ?? error);
        }
        catch (Exception error)
        {
            return new Fault(error);
        }
    }
}

/// <summary>The parts of a type's objects: its public properties, then its public fields, in the order of declaration.</summary>
internal static class Members
{
    private const int TupleItemsBeforeRest = 7;

    private static readonly ConditionalWeakTable<Type, IReadOnlyList<Member>> Known = [];

    /// <summary>The members of a type.</summary>
    public static IReadOnlyList<Member> Of(Type type) => Known.GetValue(type, Find);

    private static IReadOnlyList<Member> Find(Type type)
    {
        const BindingFlags open = BindingFlags.Public | BindingFlags.Instance;
        if (typeof(ITuple).IsAssignableFrom(type))
        {
            return [.. Enumerable.Range(0, TupleLength(type)).Select(i => new Member($"Item{i + 1}", tuple => ((ITuple)tuple)[i]))];
        }

        var properties = type.GetProperties(open)
            .Where(p => p.GetMethod is { IsPublic: true } && p.GetIndexParameters().Length == 0 && IsReadable(p.PropertyType))
            // A property that hides one of a base class is shown once.
            .DistinctBy(p => p.Name)
            .Select(p => new Member(p.Name, p.GetValue));
        return [.. properties, .. type.GetFields(open).Where(f => IsReadable(f.FieldType)).Select(f => new Member(f.Name, f.GetValue))];
    }

    private static bool IsReadable(Type type) => !type.IsByRefLike && !type.IsPointer && !type.IsByRef;

    private static int TupleLength(Type type)
    {
        var items = type.GetGenericArguments();
        return items.Length > TupleItemsBeforeRest ? TupleItemsBeforeRest + TupleLength(items[TupleItemsBeforeRest]) : items.Length;
    }
}
