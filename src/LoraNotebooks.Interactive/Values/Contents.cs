using System.Collections;
using System.Data;

namespace LoraNotebooks.Interactive;

/// <summary>What values hold that neither their properties nor their being a sequence would show.</summary>
internal static class Contents
{
    /// <summary>How long the items of an asynchronous sequence are waited for, all together.</summary>
    private static readonly TimeSpan AsyncLimit = TimeSpan.FromSeconds(5);

    /// <summary>What to show in a value's place: the items of memory or of an asynchronous sequence, the fields of a row; else the value.</summary>
    public static object Of(object value)
    {
        if (value is DataRow or DataRowView)
        {
            return Named(value)!;
        }

        if (value is ReadOnlyMemory<char> or Memory<char>)
        {
            return value.ToString()!;
        }

        var type = value.GetType();
        if (type.IsGenericType && (type.GetGenericTypeDefinition() == typeof(Memory<>) || type.GetGenericTypeDefinition() == typeof(ReadOnlyMemory<>)))
        {
            return Items(type.GetGenericTypeDefinition() == typeof(Memory<>) ? nameof(OfMemory) : nameof(OfReadOnlyMemory), type.GetGenericArguments()[0]);
        }

        return value is not IEnumerable
            && type.GetInterfaces()
                .FirstOrDefault(contract => contract.IsGenericType && contract.GetGenericTypeDefinition() == typeof(IAsyncEnumerable<>)) is { } sequence
            ? Items(nameof(OfAsync), sequence.GetGenericArguments()[0])
            : value;

        object Items(string method, Type item) => typeof(Contents)
            .GetMethod(method, System.Reflection.BindingFlags.NonPublic | System.Reflection.BindingFlags.Static)!
            .MakeGenericMethod(item)
            .Invoke(null, [value])!;
    }

    /// <summary>Whether a type is a token of Newtonsoft's JSON, of whatever version: a sequence of its children, whose text is the JSON.</summary>
    public static bool IsJsonToken(Type? type)
    {
        while (type is not null && type.FullName != "Newtonsoft.Json.Linq.JToken")
        {
            type = type.BaseType;
        }

        return type is not null;
    }

    /// <summary>The named fields of a row: of a dictionary by text, such as a dynamic object, or a row of a data table; null for anything else.</summary>
    public static IReadOnlyList<KeyValuePair<string, object?>>? Named(object? row) => row switch
    {
        DataRow data => [.. data.Table.Columns.Cast<DataColumn>().Select(column => new KeyValuePair<string, object?>(column.ColumnName, Field(data[column])))],
        DataRowView view => Named(view.Row),
        _ when row is null || IsJsonToken(row.GetType()) => null,
        IDictionary<string, object?> fields => [.. fields],
        IDictionary { Keys: var keys } fields when keys.Cast<object>().All(key => key is string) =>
            [.. keys.Cast<string>().Select(key => new KeyValuePair<string, object?>(key, fields[key]))],
        _ => null,
    };

    /// <summary>A field of a data table; what is missing there is null here.</summary>
    public static object? Field(object? value) => value is DBNull ? null : value;

    private static IEnumerable<T> OfMemory<T>(Memory<T> memory) => new MemoryItems<T>(memory);

    private static IEnumerable<T> OfReadOnlyMemory<T>(ReadOnlyMemory<T> memory) => new MemoryItems<T>(memory);

    private static IEnumerable<T> OfAsync<T>(IAsyncEnumerable<T> sequence)
    {
        using var stop = new CancellationTokenSource(AsyncLimit);
        var items = sequence.GetAsyncEnumerator(stop.Token);
        try
        {
            while (Next(items, stop.Token))
            {
                yield return items.Current;
            }
        }
        finally
        {
            stop.Cancel();
            _ = Task.Run(() => items.DisposeAsync().AsTask());
        }
    }

    // In the thread pool: the caller's context might wait for this very thread.
    private static bool Next<T>(IAsyncEnumerator<T> items, CancellationToken stop)
    {
        var next = Task.Run(() => items.MoveNextAsync().AsTask(), CancellationToken.None);
        try
        {
            next.Wait(stop);
        }
        catch (OperationCanceledException)
        {
            throw new TimeoutException($"no further item came within {AsyncLimit.TotalSeconds:0} s");
        }
        catch (AggregateException)
        {
            // The sequence's own, thrown below as it is.
        }

        return next.GetAwaiter().GetResult();
    }

    /// <summary>Memory as a list; nothing is copied.</summary>
    private sealed class MemoryItems<T>(ReadOnlyMemory<T> memory) : IReadOnlyCollection<T>
    {
        public int Count => memory.Length;

        public IEnumerator<T> GetEnumerator()
        {
            for (var i = 0; i < memory.Length; i++)
            {
                yield return memory.Span[i];
            }
        }

        IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
    }
}
